// The late errors of one engine: which there are, who was told, and the one that ended the device. Any thread.
#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <mutex>

#include "native/core/error.h"

namespace ns::core {

class Errors {
 public:
  using Sink = std::function<void(Event)>;

  Errors(const Sink& sink, std::atomic<uint64_t>& failed);
  // A new error, kept until somebody is told. Where the device was lost before, that error.
  ErrorPtr fail(const Status& status, const char* op, std::string shapes, uint64_t command);
  // The first one that nobody was told; the others were told as events, and their tensors stay poisoned.
  ErrorPtr first();
  void tell(const ErrorPtr& error);

  // The error that ended the device; every later command fails with it.
  ErrorPtr lost() const;
  // A command was lost half-way for want of memory: nothing after it can be trusted, so the device counts as lost.
  void exhaust();
  const ErrorPtr& exhausted() const { return exhausted_; }

 private:
  const Sink& sink_;
  std::atomic<uint64_t>& failed_;
  const ErrorPtr exhausted_;  // made in advance, for when there is no memory for an error
  std::atomic<bool> gone_{false};
  mutable std::mutex mutex_;  // guards what follows, and LateError::reported
  std::deque<ErrorPtr> unreported_;
  ErrorPtr lost_;
};

}  // namespace ns::core

// Finishes reads and flushes on a thread of its own, in order, while the worker goes on enqueueing: for devices that work asynchronously.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "native/abi/backend.h"
#include "native/core/errors.h"

namespace ns::core {

struct Pending {
  void* ticket = nullptr;  // null: nothing to wait for but its turn
  void* destination = nullptr;
  size_t bytes = 0;
  uint64_t token = 0;
  uint64_t command = 0;
  const char* what = "";  // read, flush
  std::string shapes;
  ErrorPtr error;  // known already
};

class Retire {
 public:
  Retire(const NsBackend& backend, void* self, Errors& errors, const Errors::Sink& sink);
  ~Retire() { stop(true); }
  Retire(const Retire&) = delete;
  Retire& operator=(const Retire&) = delete;
  void push(Pending pending);
  // Of results that are not there yet.
  size_t bytes() const { return bytes_; }
  // Waits for what is there; drop: settles nothing any more and writes no results.
  void stop(bool drop);

 private:
  void main();
  void settle(Pending& p);
  ErrorPtr finish(Pending& p);

  const NsBackend& backend_;
  void* const self_;
  Errors& errors_;
  const Errors::Sink& sink_;
  std::atomic<bool> drop_{false};
  std::atomic<size_t> bytes_{0};
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Pending> queue_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace ns::core

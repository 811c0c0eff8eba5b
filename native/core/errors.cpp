#include "native/core/errors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "native/abi/gen/ops.h"

namespace ns::core {

namespace {

constexpr size_t kMaxUnreported = 64;

// What a device finds late names the op that it comes from: "[embedding] index 9 ...".
std::string opOf(const char* message, const char* otherwise) {
  const char* end = message[0] == '[' ? std::strchr(message, ']') : nullptr;
  if (!end) return otherwise;
  const std::string name(message + 1, end);
  for (const op::Info& info : op::kInfo) {
    if (name == info.name) return name;
  }
  return otherwise;
}

ErrorPtr makeExhausted() {
  auto e = std::make_shared<LateError>();
  e->code = NS_OUT_OF_MEMORY;
  e->op = "engine";
  e->message = "no host memory for the engine's own records";
  return e;
}

}  // namespace

Errors::Errors(const Sink& sink, std::atomic<uint64_t>& failed) : sink_(sink), failed_(failed), exhausted_(makeExhausted()) {}

ErrorPtr Errors::fail(const Status& status, const char* op, std::string shapes, uint64_t command) {
  if (status.code == NS_LOST) {
    if (const ErrorPtr known = lost()) return known;
  }
  auto error = std::make_shared<LateError>();
  error->code = status.code;
  error->command = command;
  error->op = opOf(status.message, op);
  error->shapes = std::move(shapes);
  error->message = status.message;
  failed_++;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (status.code == NS_LOST && !lost_) {
      lost_ = error;
      gone_ = true;
    }
    if (unreported_.size() >= kMaxUnreported) {
      const auto told = [](const ErrorPtr& e) { return e->reported; };
      unreported_.erase(std::remove_if(unreported_.begin(), unreported_.end(), told), unreported_.end());
    }
    if (unreported_.size() < kMaxUnreported) unreported_.push_back(error);
  }
  sink_(Event{Event::kLate, 0, error});
  return error;
}

ErrorPtr Errors::first() {
  std::lock_guard<std::mutex> lock(mutex_);
  ErrorPtr first;
  for (const ErrorPtr& e : unreported_) {
    if (!first && !e->reported) first = e;
    e->reported = true;
  }
  unreported_.clear();
  if (!first && lost_ == exhausted_ && !lost_->reported) first = lost_;
  if (first) first->reported = true;
  return first;
}

void Errors::tell(const ErrorPtr& error) {
  std::lock_guard<std::mutex> lock(mutex_);
  error->reported = true;
}

ErrorPtr Errors::lost() const {
  if (!gone_) return nullptr;
  std::lock_guard<std::mutex> lock(mutex_);
  return lost_;
}

void Errors::exhaust() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!lost_) lost_ = exhausted_;
  gone_ = true;
  failed_++;
}

}  // namespace ns::core

#include "native/core/retire.h"

#include <new>
#include <utility>

namespace ns::core {

Retire::Retire(const NsBackend& backend, void* self, Errors& errors, const Errors::Sink& sink)
    : backend_(backend), self_(self), errors_(errors), sink_(sink) {
  thread_ = std::thread([this] { main(); });
}

void Retire::push(Pending pending) {
  void* const ticket = pending.ticket;
  const size_t bytes = pending.bytes;
  try {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(pending));
    bytes_ += bytes;
  } catch (const std::bad_alloc&) {
    Status ignored;
    if (ticket) backend_.copy_finish(self_, ticket, nullptr, 0, &ignored);
    throw;  // the worker settles the request
  }
  wake_.notify_one();
}

void Retire::stop(bool drop) {
  if (!thread_.joinable()) return;
  if (drop) drop_ = true;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Retire::main() {
  for (;;) {
    Pending p;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return ended_ || !queue_.empty(); });
      if (queue_.empty()) return;
      p = std::move(queue_.front());
      queue_.pop_front();
    }
    settle(p);
  }
}

ErrorPtr Retire::finish(Pending& p) {
  Status status;
  if (p.ticket) backend_.copy_finish(self_, p.ticket, drop_ ? nullptr : p.destination, p.bytes, &status);
  if (status.ok() || drop_) return p.error;
  // A device that names the op has found an error of an earlier command.
  const ErrorPtr found = errors_.fail(status, p.what, status.message[0] == '[' ? "" : p.shapes, p.command);
  if (p.error) return p.error;
  errors_.tell(found);
  return found;
}

void Retire::settle(Pending& p) {
  ErrorPtr error;
  try {
    error = finish(p);
  } catch (const std::bad_alloc&) {
    errors_.exhaust();
    error = errors_.exhausted();
  }
  bytes_ -= p.bytes;
  if (!drop_) sink_(Event{Event::kSettled, p.token, error});
}

}  // namespace ns::core

#include "native/core/engine.h"

#include <cstring>
#include <new>

#include "native/core/worker.h"

namespace ns::core {

Engine::Engine(BackendEntry backend, EngineConfig config, Sink sink)
    : backend_(std::move(backend)), config_(std::move(config)), sink_(std::move(sink)) {
  thread_ = std::thread([this] { main(); });
}

Engine::~Engine() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    closed_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Engine::main() {
  Status status;
  const NsConfig config{config_.threads, config_.deviceIndex, config_.options.empty() ? nullptr : config_.options.c_str()};
  self_ = backend_.table->create(&config, &status);
  if (!self_) {
    auto error = std::make_shared<LateError>();
    error->code = status.ok() ? static_cast<int32_t>(NS_INTERNAL) : status.code;
    error->op = "create";
    error->message = status.message;
    Event event{Event::kReady, 0, error};
    if (!stop_) sink_(std::move(event));
    return;
  }
  memory_ = std::make_unique<Memory>(*backend_.table, self_, config_.cacheBytes);
  setDescription();
  Event closed;
  {
    Worker worker(*this);
    ready_ = true;
    sink_(Event{Event::kReady, 0, nullptr});
    bool open = true;
    while (open) {
      Item item;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
        if (stop_) break;
        item = std::move(queue_.front());
        queue_.pop_front();
      }
      open = worker.run(item);
    }
    closed = std::move(worker.closed);
  }
  memory_->trim();
  backend_.table->destroy(self_);
  if (closed.kind == Event::kClosed && !stop_) sink_(std::move(closed));
}

void Engine::setDescription() {
  const char* text = backend_.table->describe(self_);
  std::lock_guard<std::mutex> lock(mutex_);
  description_ = text ? text : "{}";
}

bool Engine::push(Item item, uint64_t commands, uint64_t bytes) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return false;
    const bool last = item.kind == Item::kClose;
    queue_.push_back(std::move(item));  // may throw: nothing is changed before
    if (last) closed_ = true;
    counters_.issued += commands;
    counters_.issuedBytes += bytes;
  }
  wake_.notify_one();
  return true;
}

bool Engine::submit(const uint32_t* words, size_t n, std::string& why) {
  const int64_t count = validate(words, n, why);
  if (count < 0) return false;
  Item item;
  item.words.assign(words, words + n);
  if (push(std::move(item), static_cast<uint64_t>(count), n * 4)) return true;
  why = "closed";
  return false;
}

bool Engine::upload(SlotRef ref, const TensorInfo& info, const void* data, std::string& why) {
  return copyIn(Item::kUpload, ref, info, data, why);
}

bool Engine::write(SlotRef ref, const TensorInfo& info, const void* data, std::string& why) {
  return copyIn(Item::kWrite, ref, info, data, why);
}

bool Engine::copyIn(Item::Kind kind, SlotRef ref, const TensorInfo& info, const void* data, std::string& why) {
  Item item;
  item.kind = kind;
  item.ref = ref;
  item.info = info;
  item.bytes = tensorBytes(info);
  item.data.reset(new (std::nothrow) unsigned char[item.bytes]);
  if (!item.data) {
    why = "memory";
    return false;
  }
  std::memcpy(item.data.get(), data, item.bytes);
  const size_t bytes = item.bytes;
  if (push(std::move(item), 1, bytes)) return true;
  why = "closed";
  return false;
}

bool Engine::map(SlotRef ref, const TensorInfo& info, std::string path, uint64_t offset) {
  Item item;
  item.kind = Item::kMap;
  item.ref = ref;
  item.info = info;
  item.bytes = tensorBytes(info);
  item.path = std::move(path);
  item.offset = offset;
  return push(std::move(item), 1, 0);
}

bool Engine::read(SlotRef ref, void* destination, size_t bytes, uint64_t token) {
  Item item;
  item.kind = Item::kRead;
  item.ref = ref;
  item.destination = destination;
  item.bytes = bytes;
  item.token = token;
  return push(std::move(item), 1, 0);
}

bool Engine::flush(uint64_t token) {
  Item item;
  item.kind = Item::kFlush;
  item.token = token;
  return push(std::move(item), 1, 0);
}

bool Engine::close(uint64_t token) {
  Item item;
  item.kind = Item::kClose;
  item.token = token;
  return push(std::move(item), 1, 0);
}

void Engine::cancel(uint32_t group) {
  if (group == 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (groups_.insert(group).second) cancelled_++;
}

bool Engine::belowLowWater() const {
  return counters_.issued - counters_.retired <= config_.maxCommands / 2 &&
         counters_.issuedBytes - counters_.retiredBytes <= config_.maxBytes / 2;
}

bool Engine::throttle(uint64_t token) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return false;
    waiters_.push_back(token);
    waiting_++;
  }
  releaseWaiters(false);
  return true;
}

void Engine::releaseWaiters(bool all) {
  if (waiting_ == 0 || !(all || belowLowWater())) return;
  std::vector<uint64_t> ready;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ready.swap(waiters_);
    waiting_ = 0;
  }
  for (uint64_t token : ready) sink_(Event{Event::kSettled, token, nullptr});
}

std::string Engine::describe() {
  std::lock_guard<std::mutex> lock(mutex_);
  return description_;
}

}  // namespace ns::core

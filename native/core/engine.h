// One engine: a worker thread that executes requests in program order on one backend.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "native/abi/gen/ops.h"
#include "native/core/command.h"
#include "native/core/errors.h"
#include "native/core/registry.h"
#include "native/core/slots.h"

namespace ns::core {

struct EngineConfig {
  int32_t threads = 0;
  int32_t deviceIndex = 0;
  std::string options;                   // JSON for the backend
  uint64_t maxCommands = 16384;          // in flight; throttle() waits until half of it
  uint64_t maxBytes = 256ull << 20;      // of uploads and commands in flight
  uint64_t maxReadBytes = 256ull << 20;  // of reads that the worker does not wait for: the device keeps pinned memory for them
  size_t cacheBytes = 256ull << 20;      // memory the pool keeps for later
};

struct Counters {
  std::atomic<uint64_t> issued{0}, retired{0};            // commands
  std::atomic<uint64_t> issuedBytes{0}, retiredBytes{0};  // wire and upload bytes
  std::atomic<uint64_t> failed{0};
  std::atomic<uint64_t> graphReplays{0}, callReplays{0};  // of captures: as one graph, call by call
  std::atomic<uint64_t> opCount[op::kOpCount] = {};
  std::atomic<uint64_t> opNanos[op::kOpCount] = {};
};

class Engine {
 public:
  using Sink = std::function<void(Event)>;  // called from the engine's threads, and by throttle()

  Engine(BackendEntry backend, EngineConfig config, Sink sink);
  ~Engine();  // drops what is queued, waits for the running command, posts nothing afterwards
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // All may be called from one owner thread; false after close().
  bool submit(const uint32_t* words, size_t n, std::string& why);
  bool upload(SlotRef ref, const TensorInfo& info, const void* data, std::string& why);
  // Replaces the values of a live slot, in program order.
  bool write(SlotRef ref, const TensorInfo& info, const void* data, std::string& why);
  bool map(SlotRef ref, const TensorInfo& info, std::string path, uint64_t offset);
  bool read(SlotRef ref, void* destination, size_t bytes, uint64_t token);
  bool flush(uint64_t token);
  bool throttle(uint64_t token);
  bool close(uint64_t token);  // executes what is queued first
  void cancel(uint32_t group);

  const Counters& counters() const { return counters_; }
  const Memory::Counters& memory() const { return memory_->counters(); }
  bool ready() const { return ready_; }
  std::string describe();  // after kReady

 private:
  struct Item {
    enum Kind { kBatch, kUpload, kWrite, kMap, kRead, kFlush, kClose } kind = kBatch;
    std::vector<uint32_t> words;
    SlotRef ref;
    TensorInfo info;
    std::unique_ptr<unsigned char[]> data;
    void* destination = nullptr;
    size_t bytes = 0;
    uint64_t offset = 0;
    uint64_t token = 0;
    std::string path;
  };
  class Worker;

  bool copyIn(Item::Kind kind, SlotRef ref, const TensorInfo& info, const void* data, std::string& why);
  bool push(Item item, uint64_t commands, uint64_t bytes);
  bool belowLowWater() const;
  void releaseWaiters(bool all);
  void main();
  void setDescription();

  const BackendEntry backend_;
  const EngineConfig config_;
  const Sink sink_;
  void* self_ = nullptr;
  std::unique_ptr<Memory> memory_;
  Counters counters_;
  Errors errors_{sink_, counters_.failed};
  std::atomic<bool> ready_{false}, stop_{false};
  std::atomic<uint32_t> cancelled_{0}, waiting_{0};

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Item> queue_;
  std::unordered_set<uint32_t> groups_;  // cancelled
  std::vector<uint64_t> waiters_;
  std::string description_;
  bool closed_ = false;

  std::thread thread_;
};

}  // namespace ns::core

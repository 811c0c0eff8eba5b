// Frame of the engine tests: commands by hand, an engine whose events are collected.
#pragma once
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "native/core/engine.h"
#include "native/test/check.h"

namespace ns::test {

using Words = std::vector<uint32_t>;

inline Words command(uint32_t op, const std::vector<core::SlotRef>& in, const std::vector<std::pair<core::SlotRef, Words>>& out,
                     const Words& params, uint32_t group = 0) {
  Words w = {0, op, group, static_cast<uint32_t>(in.size() | out.size() << 8 | params.size() << 16)};
  for (const auto& s : in) w.insert(w.end(), {s.slot, s.generation});
  for (const auto& [s, dims] : out) {
    w.insert(w.end(), {s.slot, s.generation, static_cast<uint32_t>(dims.size()) << 8});
    w.insert(w.end(), dims.begin(), dims.end());
  }
  w.insert(w.end(), params.begin(), params.end());
  w[0] = static_cast<uint32_t>(w.size());
  return w;
}

inline Words fill(core::SlotRef out, uint32_t n, uint32_t group = 0) {
  return command(op::fill::kId, {}, {{out, {n}}}, {1, n, 0, 0, 0, 0, 0, 0, 0}, group);
}
inline Words affine(core::SlotRef in, core::SlotRef out, uint32_t n, uint32_t group = 0) {
  return command(op::affine::kId, {in}, {{out, {n}}}, {0, 0, 0, 0}, group);
}
inline Words accumulate(core::SlotRef y, core::SlotRef x) { return command(op::accumulate::kId, {y, x}, {}, {0, 0}); }
inline Words dispose(core::SlotRef s) { return command(core::kDispose, {s}, {}, {}); }

struct Rig {
  std::mutex mutex;
  std::condition_variable wake;
  std::map<uint64_t, core::ErrorPtr> settled;
  std::vector<core::ErrorPtr> late;
  bool ready = false, closed = false;
  uint64_t next = 1;
  core::Engine engine;

  explicit Rig(const std::string& options = "", uint64_t maxCommands = 1000, const char* device = "null", uint64_t maxReadBytes = 1 << 20)
      : engine(core::findBackend(device, ""), config(options, maxCommands, maxReadBytes), [this](core::Event e) { take(std::move(e)); }) {
    std::unique_lock<std::mutex> lock(mutex);
    wake.wait(lock, [this] { return ready; });
  }
  static core::EngineConfig config(const std::string& options, uint64_t maxCommands, uint64_t maxReadBytes) {
    core::EngineConfig c;
    c.options = options;
    c.maxCommands = maxCommands;
    c.maxReadBytes = maxReadBytes;
    c.threads = 2;
    return c;
  }
  void take(core::Event e) {
    std::lock_guard<std::mutex> lock(mutex);
    if (e.kind == core::Event::kReady) ready = true;
    if (e.kind == core::Event::kLate) late.push_back(e.error);
    if (e.kind == core::Event::kClosed) closed = true;
    if (e.kind == core::Event::kSettled || e.kind == core::Event::kClosed) settled[e.token] = e.error;
    wake.notify_all();
  }
  bool submit(const Words& w) {
    std::string why;
    return engine.submit(w.data(), w.size(), why);
  }
  core::ErrorPtr await(uint64_t token) {
    std::unique_lock<std::mutex> lock(mutex);
    const bool ok = wake.wait_for(lock, std::chrono::seconds(20), [&] { return settled.count(token) != 0; });
    check(ok, "request settles");
    return ok ? settled[token] : nullptr;
  }
  core::ErrorPtr read(core::SlotRef ref, void* into, size_t bytes) {
    const uint64_t token = next++;
    check(engine.read(ref, into, bytes, token), "read is taken");
    return await(token);
  }
  core::ErrorPtr flush() {
    const uint64_t token = next++;
    check(engine.flush(token), "flush is taken");
    return await(token);
  }
};

}  // namespace ns::test

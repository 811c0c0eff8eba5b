// The n-th allocation of the worker thread fails, for every n: the process lives and every request settles.
#include <cstdlib>
#include <new>

#include "native/test/core_check.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace {
thread_local bool worker = false;
std::atomic<int> left{0};  // 0: nothing fails
std::atomic<bool> onlyOne{true};
}  // namespace

void* operator new(size_t n) {
  if (worker && left > 0 && (left == 1 || --left == 1)) {
    if (onlyOne) left = 0;
    throw std::bad_alloc();
  }
  if (void* p = std::malloc(n ? n : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(size_t n, const std::nothrow_t&) noexcept { return std::malloc(n ? n : 1); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

using namespace ns;
using namespace ns::test;

namespace {

constexpr size_t kRequests = 40;

// Takes events without allocating.
struct Sink {
  std::mutex mutex;
  std::condition_variable wake;
  bool settled[kRequests] = {}, failed[kRequests] = {}, ready = false;
  void take(const core::Event& e) {
    worker = true;
    std::lock_guard<std::mutex> lock(mutex);
    if (e.kind == core::Event::kReady) ready = true;
    if (e.kind == core::Event::kSettled || e.kind == core::Event::kClosed) {
      settled[e.token] = true;
      failed[e.token] = e.error != nullptr;
    }
    wake.notify_all();
  }
  bool await(const bool& flag) {
    std::unique_lock<std::mutex> lock(mutex);
    return wake.wait_for(lock, std::chrono::seconds(20), [&] { return flag; });
  }
};

// Returns whether the fault was met.
bool round(int n, bool one, bool lateFault) {
  Sink sink;
  core::EngineConfig config;
  config.options = lateFault ? "{\"failCommand\":3}" : "";
  core::Engine engine(core::findBackend("null", ""), config, [&](core::Event e) { sink.take(e); });
  sink.await(sink.ready);
  onlyOne = one;
  left = n + 1;
  const float data[4] = {};
  float into[kRequests][4];
  size_t token = 0;
  std::string why;
  core::TensorInfo info;
  info.ndim = 1;
  info.dims[0] = 4;
  for (uint32_t i = 0; i < 8; i++) {
    engine.upload({i * 50, 1}, info, data, why);
    const Words w = affine({i * 50, 1}, {i * 50 + 7, 1}, 4), u = accumulate({i * 50 + 7, 1}, {i * 50, 1}), d = dispose({i * 50, 1});
    engine.submit(w.data(), w.size(), why);
    engine.submit(u.data(), u.size(), why);
    engine.map({i * 50 + 9, 1}, info, "/proc/self/none", 0);
    engine.read({i * 50 + 7, 1}, into[token], 16, token);
    token++;
    engine.submit(d.data(), d.size(), why);
  }
  engine.flush(token++);
  const size_t close = token++;
  engine.close(close);
  for (size_t i = 0; i < token; i++) check(sink.await(sink.settled[i]), "request settles", std::to_string(n) + " " + std::to_string(i));
  check(engine.counters().issued == engine.counters().retired, "every command is accounted for", std::to_string(n));
  const bool met = left < 2;
  left = 0;
  return met;
}

}  // namespace

int main() {
  for (const bool one : {true, false}) {
    for (const bool lateFault : {false, true}) {
      int n = 1;
      while (n < 2000 && round(n, one, lateFault)) n++;
      check(n > 10 && n < 2000, "allocations are reached", std::to_string(n));
    }
  }
  return finish();
}

// Thread pool with chunk stealing: the caller works too and never waits for a worker that has not taken a chunk.
#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

namespace ns::cpu {

class Pool {
 public:
  explicit Pool(int threads);  // 0: all cores available to the process
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const;  // workers + the caller

  // Calls body(begin, end, thread) over [0, n) in chunks of grain (the last may be shorter). Which thread takes which chunk is
  // not fixed, so a result must not depend on it; chunk boundaries depend on n and grain only. body must not throw.
  template <class F>
  void parallelFor(int64_t n, int64_t grain, F&& body) {
    using Body = std::remove_reference_t<F>;
    run(
        n, grain, [](void* ctx, int64_t b, int64_t e, int t) { (*static_cast<Body*>(ctx))(b, e, t); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Chunk = void (*)(void* ctx, int64_t begin, int64_t end, int thread);
  void run(int64_t n, int64_t grain, Chunk chunk, void* ctx);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ns::cpu

// Machine peak. Floor: none, these loops are the floor: 12 independent FMA chains per thread from registers; and one pass of vector
// loads over a buffer larger than the last-level cache. Layout: flat. Reference: the two numbers bench prints with every result.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/peak.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/peak.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

size_t lanes() { return hn::Lanes(hn::ScalableTag<float>()); }
const char* targetName() { return hwy::TargetName(HWY_TARGET); }

// 24 operations per lane and step. Returns a value that depends on every chain, so that none is removed.
float fmaLoop(int64_t steps, float seed) {
  const hn::ScalableTag<float> d;
  const auto m = hn::Set(d, 0.999f);
  const auto a = hn::Set(d, seed);
  // Different starts: equal chains would be merged into one.
  auto s0 = hn::Iota(d, 0.0f), s1 = hn::Iota(d, 1.0f), s2 = hn::Iota(d, 2.0f), s3 = hn::Iota(d, 3.0f), s4 = hn::Iota(d, 4.0f),
       s5 = hn::Iota(d, 5.0f), s6 = hn::Iota(d, 6.0f), s7 = hn::Iota(d, 7.0f), s8 = hn::Iota(d, 8.0f), s9 = hn::Iota(d, 9.0f),
       s10 = hn::Iota(d, 10.0f), s11 = hn::Iota(d, 11.0f);
  for (int64_t i = 0; i < steps; i++) {
    s0 = hn::MulAdd(s0, m, a);
    s1 = hn::MulAdd(s1, m, a);
    s2 = hn::MulAdd(s2, m, a);
    s3 = hn::MulAdd(s3, m, a);
    s4 = hn::MulAdd(s4, m, a);
    s5 = hn::MulAdd(s5, m, a);
    s6 = hn::MulAdd(s6, m, a);
    s7 = hn::MulAdd(s7, m, a);
    s8 = hn::MulAdd(s8, m, a);
    s9 = hn::MulAdd(s9, m, a);
    s10 = hn::MulAdd(s10, m, a);
    s11 = hn::MulAdd(s11, m, a);
  }
  const auto low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const auto high = hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
}

// n is a multiple of four vectors.
float readLoop(const float* HWY_RESTRICT x, int64_t n) {
  const hn::ScalableTag<float> d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t i = 0; i + 4 * N <= n; i += 4 * N) {
    s0 = hn::Add(s0, hn::LoadU(d, x + i));
    s1 = hn::Add(s1, hn::LoadU(d, x + i + N));
    s2 = hn::Add(s2, hn::LoadU(d, x + i + 2 * N));
    s3 = hn::Add(s3, hn::LoadU(d, x + i + 3 * N));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

namespace ns::cpu {
HWY_EXPORT(lanes);
HWY_EXPORT(targetName);
HWY_EXPORT(fmaLoop);
HWY_EXPORT(readLoop);

namespace {

constexpr int64_t kFmaSteps = 1 << 20;

template <class F>
double seconds(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Peak measurePeak(Pool& pool, size_t bytes, int rounds) {
  const int threads = pool.threads();
  const int64_t part = static_cast<int64_t>(bytes / sizeof(float)) / threads / 1024 * 1024;
  std::vector<float> buffer(static_cast<size_t>(part) * threads, 1.0f);
  std::atomic<float> sink{0};
  Peak peak{0, 0, HWY_DYNAMIC_DISPATCH(targetName)()};
  const double operations = 24.0 * kFmaSteps * static_cast<double>(HWY_DYNAMIC_DISPATCH(lanes)()) * threads;
  for (int r = 0; r < rounds; r++) {
    const double fma = seconds([&] {
      pool.parallelFor(threads, 1, [&](int64_t b, int64_t e, int) {
        for (int64_t i = b; i < e; i++) sink.store(HWY_DYNAMIC_DISPATCH(fmaLoop)(kFmaSteps, 1e-3f * static_cast<float>(i + 1)));
      });
    });
    const double read = seconds([&] {
      pool.parallelFor(threads, 1, [&](int64_t b, int64_t e, int) {
        for (int64_t i = b; i < e; i++) sink.store(HWY_DYNAMIC_DISPATCH(readLoop)(buffer.data() + i * part, part));
      });
    });
    peak.flops = std::max(peak.flops, operations / fma);
    peak.bytesPerSecond = std::max(peak.bytesPerSecond, static_cast<double>(part) * threads * sizeof(float) / read);
  }
  return peak;
}

}  // namespace ns::cpu
#endif  // HWY_ONCE

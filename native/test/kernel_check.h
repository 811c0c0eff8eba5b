// Small frame of the kernel tests: seeded data, buffers with sentinels, calls without an engine, every SIMD target, several thread counts.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "hwy/targets.h"
#include "native/cpu/context.h"
#include "native/test/check.h"

namespace ns::test {

// splitmix64
struct Rng {
  uint64_t state;
  explicit Rng(uint64_t seed) : state(seed) {}
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  float between(double lo, double hi) { return static_cast<float>(lo + (hi - lo) * uniform()); }
  float normal() { return static_cast<float>(std::sqrt(-2.0 * std::log(uniform() + 1e-300)) * std::cos(6.283185307179586 * uniform())); }
};

// A tensor between two runs of sentinel bytes, aligned to 4 bytes and to no more: a kernel that needs a vector's alignment ends here. Large
// ones are aligned as the engine's memory is: some kernels write those past the caches.
struct Tensor {
  static constexpr size_t kGuard = 68, kLarge = size_t{1} << 22, kLine = 64;
  std::vector<unsigned char> store;
  NsTensor t = {};
  size_t bytes = 0, lead = kGuard;

  Tensor() = default;
  Tensor(const std::vector<int64_t>& dims, DType type = DType::f32) {
    t.dtype = static_cast<int32_t>(type);
    t.ndim = static_cast<int32_t>(dims.size());
    int64_t n = 1;
    for (size_t i = 0; i < dims.size(); i++) n *= t.dims[i] = dims[i];
    bytes = static_cast<size_t>(n) * dtypeSize(type);
    store.assign(bytes + 2 * kGuard + kLine, 0xa5);
    if (bytes >= kLarge) lead += kLine - reinterpret_cast<uintptr_t>(store.data() + kGuard) % kLine;
  }
  void* data() { return store.data() + lead; }
  template <class T = float>
  T* as() {
    return static_cast<T*>(data());
  }
  int64_t size() const { return static_cast<int64_t>(bytes / dtypeSize(static_cast<DType>(t.dtype))); }
  NsTensor ref() {
    NsTensor r = t;
    if (bytes) r.data = data();
    return r;
  }
  bool intact() const {
    const auto untouched = [](unsigned char b) { return b == 0xa5; };
    const auto begin = store.begin() + static_cast<std::ptrdiff_t>(lead);
    return std::all_of(store.begin(), begin, untouched) && std::all_of(begin + static_cast<std::ptrdiff_t>(bytes), store.end(), untouched);
  }
  Tensor& fill(const std::function<double(int64_t)>& f) {
    for (int64_t i = 0; i < size(); i++) {
      if (static_cast<DType>(t.dtype) == DType::i32) {
        as<int32_t>()[i] = static_cast<int32_t>(f(i));
      } else {
        as<float>()[i] = static_cast<float>(f(i));
      }
    }
    return *this;
  }
  Tensor& normal(Rng& rng, double scale = 1) {
    return fill([&](int64_t) { return rng.normal() * scale; });
  }
};

// An absent optional input is a default Tensor.
template <class P>
using Kernel = Status (*)(cpu::Context&, const NsCall&, const P&);

template <class P>
Status run(int threads, Kernel<P> kernel, const P& params, const std::vector<Tensor*>& in, const std::vector<Tensor*>& out) {
  cpu::Pool pool(threads);
  cpu::Scratch shared;
  std::vector<cpu::Scratch> perThread(static_cast<size_t>(pool.threads()));
  cpu::Context ctx{pool, shared, perThread.data()};
  std::vector<NsTensor> i, o;
  for (Tensor* t : in) i.push_back(t->ref());
  for (Tensor* t : out) o.push_back(t->ref());
  const NsCall call{0, static_cast<int32_t>(i.size()), static_cast<int32_t>(o.size()), i.data(), o.data(), &params};
  const Status s = kernel(ctx, call, params);
  for (Tensor* t : in) {
    if (t->bytes) check(t->intact(), "input sentinels");
  }
  for (Tensor* t : out) check(t->intact(), "output sentinels");
  return s;
}

// Runs body once per SIMD target that this machine and the build have.
inline void eachTarget(const std::function<void(const char*)>& body) {
  const int64_t all = hwy::SupportedTargets();
  for (int bit = 0; bit < 63; bit++) {
    const int64_t target = int64_t{1} << bit;
    if (!(all & HWY_TARGETS & target)) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    body(hwy::TargetName(target));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

inline bool same(Tensor& a, Tensor& b) { return a.bytes == b.bytes && std::memcmp(a.data(), b.data(), a.bytes) == 0; }

// Largest |got - want| / (floor + |want|).
inline double worst(Tensor& got, const std::vector<double>& want, double floor) {
  double w = 0;
  for (int64_t i = 0; i < got.size(); i++) {
    const double g = got.as<float>()[i], e = want[static_cast<size_t>(i)];
    if (std::isinf(e) && g == e) continue;
    const double err = std::abs(g - e) / (floor + std::abs(e));
    if (!(err <= w)) w = std::isnan(err) ? INFINITY : err;
  }
  return w;
}

inline void close(Tensor& got, const std::vector<double>& want, double floor, double tol, const std::string& what) {
  const double w = worst(got, want, floor);
  check(w <= tol, what.c_str(), "error " + std::to_string(w * 1e6) + "e-6 above " + std::to_string(tol * 1e6) + "e-6");
}

}  // namespace ns::test

// What the tests of attention and attention_grad share: cases, their data, the definition in plain double loops.
#pragma once
#include <functional>

#include "cuda/test/device_check.h"
#ifdef NS_EMULATED
#include "cuda/emulation/scheduler.h"
#endif

namespace ns::cuda::test {

using Doubles = std::vector<double>;

inline void eachOrder(const std::function<void()>& body) {
#ifdef NS_EMULATED
  for (auto order : {emulation::Order::ascending, emulation::Order::descending}) {
    emulation::setOrder(order);
    body();
  }
  emulation::setOrder(emulation::Order::ascending);
#else
  body();
  body();
#endif
}

struct Case {
  int B, l, H, c;
  DType type = DType::f32;
  float scale = 1;
  bool scaleMul = false;
  std::vector<int> levels = {};  // not empty: visible
  int pos = 0, Lmax = 0;
  bool append = false;
  DType cache = DType::f32;
  int sms = 4;
  int shift = 0;  // elements: not aligned
};

inline std::string describe(const Case& c) {
  return std::string(dtypeName(c.type)) + " B " + std::to_string(c.B) + " l " + std::to_string(c.l) + " H " + std::to_string(c.H) + " c " +
         std::to_string(c.c) + " pos " + std::to_string(c.pos) + " sms " + std::to_string(c.sms) + (c.scaleMul ? " scaleMul" : "") +
         (c.levels.empty() ? "" : " levels") + (c.Lmax ? std::string(" cache ") + dtypeName(c.cache) : "");
}

inline std::vector<int32_t> visibleOf(const Case& c) {
  std::vector<int32_t> v;
  int total = c.pos;
  for (int n : c.levels) {
    total += n;
    v.insert(v.end(), static_cast<size_t>(n), total);
  }
  return v;
}

// Inputs on the device and what they hold.
struct Data {
  Buffer qkv, mul, k, v, y, lse, visible;
  Doubles x, factors, cachedK, cachedV;
  std::vector<int32_t> seen;

  Data(const Case& c, unsigned seed)
      : qkv({c.B, c.l, 3 * c.H * c.c}, c.type, c.shift),
        mul({c.H}, DType::f32),
        y({c.B, c.l, c.H * c.c}, c.type, c.shift),
        lse({c.B, c.H, c.l}, DType::f32) {
    std::mt19937 rng(seed);
    x = qkv.random(rng);
    Doubles m;
    for (int h = 0; h < c.H; h++) m.push_back(h == 0 ? 2.5 : 0.4 * h);
    factors = mul.set(m);
    seen = visibleOf(c);
    if (!seen.empty()) {
      visible = Buffer({c.l}, DType::i32);
      putVisible();
    }
    if (c.Lmax == 0) return;
    k = Buffer({c.B, c.H, c.Lmax, c.c}, c.cache, c.shift);
    v = Buffer({c.B, c.H, c.Lmax, c.c}, c.cache, c.shift);
    cachedK = k.random(rng);
    cachedV = v.random(rng);
  }
  void putVisible() { cudaMemcpy(visible.data(), seen.data(), seen.size() * 4, cudaMemcpyHostToDevice); }
};

constexpr float kMaxMul = 1.75f;  // the first head's is clamped

inline Status go(const Case& c, Data& d) {
  const op::attention::Params p = {c.H, c.c, c.scale, kMaxMul, c.pos, c.append};
  const Buffer none;
  return run<op::attention::Params>(device.context(c.sms), ops::attention, p,
                                    {&d.qkv, c.scaleMul ? &d.mul : nullptr, d.seen.empty() ? nullptr : &d.visible, c.Lmax ? &d.k : nullptr,
                                     c.Lmax ? &d.v : nullptr, &d.lse},
                                    {&d.y});
}

inline Doubles unit(const double* x, int c, bool normalize) {
  Doubles u(x, x + c);
  double n = 0;
  for (double v : u) n += v * v;
  n = normalize ? std::max(std::sqrt(n), 1e-12) : 1;
  for (double& v : u) v /= n;
  return u;
}

inline double dot(const double* a, const double* b, int c) {
  double s = 0;
  for (int i = 0; i < c; i++) s += a[i] * b[i];
  return s;
}

inline const double* part(const Case& c, const Data& d, int b, int i, int h, int which) {
  return d.x.data() + ((static_cast<int64_t>(b) * c.l + i) * 3 + which) * c.H * c.c + h * c.c;
}

inline double factorOf(const Case& c, const Data& d, int h) {
  return c.scale * (c.scaleMul ? std::exp(std::min<double>(d.factors[static_cast<size_t>(h)], kMaxMul)) : 1.0);
}

struct Forward {
  Doubles y, lse;
};

inline Forward reference(const Case& c, const Data& d) {
  Forward r{Doubles(static_cast<size_t>(c.B * c.l * c.H * c.c)), Doubles(static_cast<size_t>(c.B * c.H * c.l))};
  for (int b = 0; b < c.B; b++) {
    for (int h = 0; h < c.H; h++) {
      std::vector<Doubles> keys, values;
      for (int j = 0; j < c.pos; j++) {
        const int64_t at = ((static_cast<int64_t>(b) * c.H + h) * c.Lmax + j) * c.c;
        keys.push_back(unit(d.cachedK.data() + at, c.c, false));
        values.push_back(unit(d.cachedV.data() + at, c.c, false));
      }
      for (int j = 0; j < c.l; j++) {
        keys.push_back(unit(part(c, d, b, j, h, 1), c.c, c.scaleMul));
        values.push_back(unit(part(c, d, b, j, h, 2), c.c, false));
      }
      for (int i = 0; i < c.l; i++) {
        const Doubles q = unit(part(c, d, b, i, h, 0), c.c, c.scaleMul);
        const auto seen = static_cast<size_t>(d.seen.empty() ? c.pos + c.l : d.seen[static_cast<size_t>(i)]);
        Doubles s;
        double top = -INFINITY, sum = 0;
        for (size_t j = 0; j < seen; j++) top = std::max(top, (s.push_back(dot(q.data(), keys[j].data(), c.c) * factorOf(c, d, h)), s[j]));
        for (double& v : s) sum += v = std::exp(v - top);
        r.lse[static_cast<size_t>((b * c.H + h) * c.l + i)] = top + std::log(sum);
        double* y = r.y.data() + ((b * c.l + i) * c.H + h) * c.c;
        for (size_t j = 0; j < seen; j++) {
          for (int e = 0; e < c.c; e++) y[e] += s[j] / sum * values[j][static_cast<size_t>(e)];
        }
      }
    }
  }
  return r;
}

static const std::vector<int> kLevels = {1, 4, 9, 16, 25};
constexpr DType f32 = DType::f32, f16t = DType::f16, bf16t = DType::bf16;

}  // namespace ns::cuda::test

// Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011; Random123), who uses which counters, and what the op
// `random` works out before it draws: one definition, so that backends draw the same numbers.
//
// The key is a 64-bit seed (lo, hi). Counters, so that no two draws ever share one:
//   multinomial     (token, scale, imageIndex, 0)                     word 0 of the result
//   gumbel_softmax  (token, scale, imageIndex, 0x47000000 + v / 4)    word v % 4, for vocabulary entry v
//   random          (i / 4 low, i / 4 high, stream, 0x52)             word i % 4, for element i
// A word x stands for the number (x + 0.5) / 2^32 in (0, 1), computed in double.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "native/abi/gen/ops.h"
#include "native/abi/status.h"

#ifdef __CUDACC__
#define NS_ALSO_DEVICE __host__ __device__
#else
#define NS_ALSO_DEVICE
#endif

namespace ns {

constexpr uint32_t kPhiloxMultinomial = 0;
constexpr uint32_t kPhiloxGumbel = 0x47000000u;
constexpr uint32_t kPhiloxRandom = 0x52;

constexpr uint32_t kPhiloxM0 = 0xd2511f53u, kPhiloxM1 = 0xcd9e8d57u;
constexpr uint32_t kPhiloxW0 = 0x9e3779b9u, kPhiloxW1 = 0xbb67ae85u;

struct Philox {
  uint32_t w[4];
};

NS_ALSO_DEVICE inline Philox philox(uint32_t key0, uint32_t key1, Philox c) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = static_cast<uint64_t>(kPhiloxM0) * c.w[0];
    const uint64_t b = static_cast<uint64_t>(kPhiloxM1) * c.w[2];
    c = Philox{{static_cast<uint32_t>(b >> 32) ^ c.w[1] ^ key0, static_cast<uint32_t>(b), static_cast<uint32_t>(a >> 32) ^ c.w[3] ^ key1,
                static_cast<uint32_t>(a)}};
    key0 += kPhiloxW0;
    key1 += kPhiloxW1;
  }
  return c;
}

NS_ALSO_DEVICE inline double philoxUniform(uint32_t x) { return (static_cast<double>(x) + 0.5) * 0x1p-32; }

// v = from + u * span, then the value itself or add + mul * erfinv(v), clamped to [lo, hi].
struct RandomPlan {
  double from, span;
  bool inverse;
  float mul, add, lo, hi;
  uint32_t key0, key1, stream;
};

inline Status planRandom(const op::random::Params& p, RandomPlan* plan) {
  using Kind = op::random::Kind;
  const double mean = p.mean, std = p.std, root2 = 1.4142135623730951;
  constexpr float inf = std::numeric_limits<float>::infinity();
  *plan = {};
  plan->key0 = static_cast<uint32_t>(p.seedLo);
  plan->key1 = static_cast<uint32_t>(p.seedHi);
  plan->stream = static_cast<uint32_t>(p.stream);
  plan->lo = -inf;
  plan->hi = inf;
  plan->mul = static_cast<float>(std * root2);
  plan->add = p.mean;
  plan->inverse = p.kind != Kind::uniform;
  if (p.kind == Kind::uniform) {
    if (!(p.mean <= p.std)) return failure(NS_INVALID, "[random] uniform: lo %g is above hi %g", mean, std);
    plan->from = mean;
    plan->span = std - mean;
    plan->lo = p.mean;
    plan->hi = std::nextafter(p.std, p.mean);
  } else if (p.kind == Kind::normal) {
    plan->from = -1;
    plan->span = 2;
  } else {
    if (!(p.std > 0) || std::abs(mean) > 2)
      return failure(NS_INVALID, "[random] trunc_normal: mean %g must lie in [-2, 2], std %g above 0", mean, std);
    plan->from = std::erf((-2 - mean) / (std * root2));
    plan->span = std::erf((2 - mean) / (std * root2)) - plan->from;
    plan->lo = -2;
    plan->hi = 2;
  }
  return {};
}

}  // namespace ns

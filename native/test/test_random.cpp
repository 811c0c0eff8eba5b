#include <algorithm>

#include "native/abi/random.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
using P = op::random::Params;
using Kind = op::random::Kind;

namespace {

// Random123's known answers (kat_vectors, philox4x32 10 rounds).
void knownAnswers() {
  const auto is = [](const ns::Philox& p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    return p.w[0] == a && p.w[1] == b && p.w[2] == c && p.w[3] == d;
  };
  const uint32_t f = 0xffffffffu;
  check(is(ns::philox(0, 0, {{0, 0, 0, 0}}), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u), "philox: zeros");
  check(is(ns::philox(f, f, {{f, f, f, f}}), 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu), "philox: ones");
  check(is(ns::philox(0xa4093822u, 0x299f31d0u, {{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}), 0xd16cfe09u, 0x94fdccebu,
           0x5001e420u, 0x24126ea1u),
        "philox: pi");
}

// Inverse of the normal distribution at u, by Newton on the complementary error function of the nearer tail.
double normalQuantile(double u) {
  if (u > 0.5) return -normalQuantile(1 - u);
  double x = u > 0.02 ? (u - 0.5) * 2.5 : -std::sqrt(-2 * std::log(u));
  for (int i = 0; i < 60; i++) {
    const double f = 0.5 * std::erfc(-x / std::sqrt(2.0)) - u;
    x -= f / (std::exp(-x * x / 2) / std::sqrt(2 * M_PI));
  }
  return x;
}

double expected(const P& p, int64_t i) {
  const uint64_t block = static_cast<uint64_t>(i) / 4;
  const ns::Philox w =
      ns::philox(static_cast<uint32_t>(p.seedLo), static_cast<uint32_t>(p.seedHi),
                 {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), static_cast<uint32_t>(p.stream), 0x52}});
  const double u = ns::philoxUniform(w.w[i % 4]), mean = p.mean, std = p.std;
  if (p.kind == Kind::uniform) return mean + u * (std - mean);
  if (p.kind == Kind::normal) return mean + std * normalQuantile(u);
  const auto cdf = [&](double x) { return 0.5 * std::erfc(-(x - mean) / std / std::sqrt(2.0)); };
  return std::min(2.0, std::max(-2.0, mean + std * normalQuantile(cdf(-2) + u * (cdf(2) - cdf(-2)))));
}

void parity(const char* target) {
  struct Case {
    int64_t n;
    P p;
  };
  for (const Case& c : {Case{257, {{}, Kind::uniform, -1, 2, 7, 0, 0}},
                        {165, {{}, Kind::normal, 0, 1, 7, 0, 3}},
                        {100, {{}, Kind::trunc_normal, 0, 0.02f, 9, 1, 0}},
                        {1000, {{}, Kind::trunc_normal, 0, 2, 0, 0, 0}},
                        {20001, {{}, Kind::normal, 3, 0.5f, -5, -6, -7}},
                        {1, {{}, Kind::normal, 0, 1, 1, 2, 3}},
                        {300, {{}, Kind::trunc_normal, 1.5f, 0.7f, 4, 0, 1}}}) {
    Tensor y({c.n}), z({c.n}), shorter({(c.n + 1) / 2});
    std::vector<double> want;
    for (int64_t i = 0; i < c.n; i++) want.push_back(expected(c.p, i));
    check(run(1, cpu::kernels::random, c.p, {}, {&y}).ok(), "random status");
    run(3, cpu::kernels::random, c.p, {}, {&z});
    run(2, cpu::kernels::random, c.p, {}, {&shorter});
    close(y, want, 0.01 + std::abs(c.p.mean), 1e-6, std::string("random ") + target);
    check(same(y, z), "random: same bits for every thread count", target);
    check(!std::memcmp(y.data(), shorter.data(), shorter.bytes), "random: an element does not depend on the size", target);
  }
}

void distribution() {
  const int64_t n = 2000000;
  Tensor y({n});
  const auto moments = [&](const P& p, double* mean, double* var, float* lo, float* hi) {
    run(2, cpu::kernels::random, p, {}, {&y});
    const float* v = y.as<float>();
    *mean = *var = 0;
    for (int64_t i = 0; i < n; i++) *mean += v[i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; i++) *var += (v[i] - *mean) * (v[i] - *mean) / static_cast<double>(n);
    *lo = *std::min_element(v, v + n);
    *hi = *std::max_element(v, v + n);
  };
  double mean, var;
  float lo, hi;
  moments({{}, Kind::normal, 0, 1, 42, 0, 0}, &mean, &var, &lo, &hi);
  check(std::abs(mean) < 4e-3 && std::abs(var - 1) < 6e-3 && hi > 4.5f && lo < -4.5f, "random: normal moments");
  moments({{}, Kind::uniform, 2, 3, 42, 0, 0}, &mean, &var, &lo, &hi);
  check(std::abs(mean - 2.5) < 1e-3 && std::abs(var - 1 / 12.0) < 4e-4 && lo >= 2 && hi < 3, "random: uniform moments");
  moments({{}, Kind::trunc_normal, 0, 1, 42, 0, 0}, &mean, &var, &lo, &hi);
  check(std::abs(mean) < 3e-3 && std::abs(var - 0.7737) < 3e-3 && lo >= -2 && hi <= 2, "random: truncated moments");
  check(run(1, cpu::kernels::random, P{{}, Kind::uniform, 1, 0, 0, 0, 0}, {}, {&y}).code == NS_INVALID, "random: lo above hi");
  check(run(1, cpu::kernels::random, P{{}, Kind::trunc_normal, 5, 1, 0, 0, 0}, {}, {&y}).code == NS_INVALID,
        "random: mean outside the truncation");
}

}  // namespace

int main() {
  knownAnswers();
  eachTarget(parity);
  distribution();
  return finish();
}

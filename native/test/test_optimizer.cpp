// grad_stats, adamw, adamw8, sgd on every SIMD target: odd sizes, 16-bit parameters, clipping, skipped steps.
#include <limits>

#include "native/cpu/cast.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
namespace k = ns::cpu::kernels;

namespace {
const float kInf = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

// Values of any float dtype as f32, and f32 values into it.
std::vector<float> wide(Tensor& t) {
  std::vector<float> v(static_cast<size_t>(t.size()));
  cpu::castRow(static_cast<DType>(t.t.dtype), DType::f32, t.data(), v.data(), t.size());
  return v;
}
Tensor narrow(const std::vector<float>& v, DType type) {
  Tensor t({static_cast<int64_t>(v.size())}, type);
  cpu::castRow(DType::f32, type, v.data(), t.data(), t.size());
  return t;
}

std::vector<float> normals(int64_t n, uint64_t seed, double scale = 1) {
  Rng rng(seed);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = static_cast<float>(rng.normal() * scale);
  return v;
}

void testGradStats(const char* target) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    std::vector<float> v = normals(70013, 5);
    for (const size_t i : {size_t{3}, size_t{4}, size_t{40000}, size_t{70012}}) v[i] = i % 2 ? kNaN : -kInf;
    Tensor g = narrow(v, type), offsets({6}, DType::i32), stats({5, 2}), stats2({5, 2});
    const int32_t at[] = {0, 17, 17, 600, 33001, 70013};
    std::memcpy(offsets.data(), at, sizeof(at));
    check(run(1, &k::grad_stats, op::grad_stats::Params{}, {&g, &offsets}, {&stats}).ok(), "grad_stats runs");
    run(2, &k::grad_stats, op::grad_stats::Params{}, {&g, &offsets}, {&stats2});
    check(same(stats, stats2), "grad_stats: threads change bits");
    const std::vector<float> w = wide(g);
    std::vector<double> want;
    for (int s = 0; s < 5; s++) {
      double sum = 0, bad = 0;
      for (int32_t i = at[s]; i < at[s + 1]; i++) {
        const double x = w[static_cast<size_t>(i)];
        std::isfinite(x) ? sum += x* x : bad += 1;
      }
      want.push_back(sum);
      want.push_back(bad);
    }
    close(stats, want, 1e-6, 1e-7, std::string("grad_stats ") + target + " " + dtypeName(type));
    offsets.as<int32_t>()[4] = 70014;
    check(run(1, &k::grad_stats, op::grad_stats::Params{}, {&g, &offsets}, {&stats}).code == NS_INDEX, "grad_stats: offset behind the end");
    offsets.as<int32_t>()[4] = 16;
    check(run(1, &k::grad_stats, op::grad_stats::Params{}, {&g, &offsets}, {&stats}).code == NS_INDEX, "grad_stats: falling offsets");
  }
}

struct Moments {
  double p, m, v;
};

Moments adam(const op::adamw::Params& a, double factor, double p, double grad, double m0, double v0) {
  const double b1 = std::round(a.beta1 * 1e7) / 1e7, b2 = std::round(a.beta2 * 1e7) / 1e7;
  const double g = grad * factor + (a.decoupled ? 0 : a.weightDecay * p), m = b1 * m0 + (1 - b1) * g, v = b2 * v0 + (1 - b2) * g * g;
  const double denominator = std::sqrt(v) / std::sqrt(1 - std::pow(b2, a.step)) + a.eps;
  return {(a.decoupled ? p * (1 - static_cast<double>(a.lr) * a.weightDecay) : p) - a.lr / (1 - std::pow(b1, a.step)) * m / denominator, m,
          v};
}

const op::adamw::Params kSteps[] = {{1e-2f, 0.9f, 0.95f, 1e-8f, 0.05f, 1, 3, 1, 0},
                                    {1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 0, 1000, 0.5f, 2},
                                    {1e-3f, 0, 0.5f, 1e-6f, 0, 1, 1, 0.25f, 1e6f}};

void testAdamw(const char* target) {
  for (const int64_t n : {1, 5, 63, 1029, 40003}) {
    for (const op::adamw::Params& p : kSteps) {
      for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
        for (const bool withMaster : {false, true}) {
          const std::vector<float> start = normals(n, 1, 0.1);
          Tensor param = narrow(start, type), param2 = narrow(start, type), grad = narrow(normals(n, 2), type), none;
          Tensor m = narrow(normals(n, 3), DType::f32), v({n}), master = narrow(start, DType::f32), stats({2});
          v.fill([](int64_t i) { return 0.01 * static_cast<double>(i % 13 + 1); });
          stats.as()[0] = 400;
          stats.as()[1] = 0;
          Tensor m2 = m, v2 = v, master2 = master;
          const std::vector<float> before = withMaster ? start : wide(param), g = wide(grad);
          const double norm = 20 * p.invScale, factor = p.invScale * (p.maxNorm > 0 ? std::min(1.0, p.maxNorm / (norm + 1e-6)) : 1.0);
          std::vector<double> wantP, wantM, wantV;
          for (int64_t i = 0; i < n; i++) {
            const size_t at = static_cast<size_t>(i);
            const Moments r = adam(p, factor, before[at], g[at], m.as()[i], v.as()[i]);
            wantP.push_back(r.p);
            wantM.push_back(r.m);
            wantV.push_back(r.v);
          }
          Tensor* own = withMaster ? &master : &none;
          check(run(1, &k::adamw, p, {&param, &grad, &m, &v, own, &stats}, {}).ok(), "adamw runs");
          run(2, &k::adamw, p, {&param2, &grad, &m2, &v2, withMaster ? &master2 : &none, &stats}, {});
          check(same(param, param2) && same(m, m2) && same(v, v2), "adamw: threads change bits");
          const std::string what = std::string("adamw ") + target + " " + dtypeName(type) + " n " + std::to_string(n);
          close(m, wantM, 0.1, 5e-7, what + " m");
          close(v, wantV, 1e-3, 5e-7, what + " v");
          if (withMaster) {
            close(master, wantP, 0.1, 5e-7, what + " master");
            Tensor rounded = narrow(wide(master), type);
            check(same(rounded, param), "the parameter is the rounded master");
          } else {
            Tensor got = narrow(wide(param), DType::f32);
            close(got, wantP, 0.1, type == DType::f32 ? 5e-7 : type == DType::f16 ? 5e-4 : 4e-3, what + " p");
          }
        }
      }
    }
  }
}

// A step that the statistics forbid changes nothing; clipping without statistics is refused.
void testSkip() {
  Tensor param = narrow(normals(70, 1), DType::f32), grad = narrow(normals(70, 2), DType::f32), m = narrow(normals(70, 3), DType::f32);
  Tensor v = m, none, stats({2}), codes({70}, DType::u8), scale({1});
  std::memset(codes.data(), 130, 70);
  scale.as()[0] = 1;
  Tensor codes2 = codes, scale2 = scale;
  const Tensor keep[] = {param, m, v, codes, scale};
  const op::adamw::Params p{1e-2f, 0.9f, 0.95f, 1e-8f, 0.05f, 1, 3, 1, 1};
  op::adamw8::Params p8;
  std::memcpy(&p8, &p, sizeof(p8));
  const op::sgd::Params q{0.1f, 0.9f, 1, 0.1f, 1, 1};
  for (const float bad : {1.0f, kNaN}) {
    stats.as()[0] = 4;
    stats.as()[1] = bad;
    check(run(2, &k::adamw, p, {&param, &grad, &m, &v, &none, &stats}, {}).ok(), "adamw skips");
    check(run(2, &k::adamw8, p8, {&param, &grad, &codes, &codes2, &scale, &scale2, &none, &stats}, {}).ok(), "adamw8 skips");
    check(run(2, &k::sgd, q, {&param, &grad, &m, &none, &stats}, {}).ok(), "sgd skips");
    Tensor* now[] = {&param, &m, &v, &codes, &scale};
    for (size_t i = 0; i < 5; i++) {
      Tensor was = keep[i];
      check(same(was, *now[i]), "a step that is skipped changes nothing", std::to_string(i));
    }
  }
  check(run(1, &k::adamw, p, {&param, &grad, &m, &v, &none, &none}, {}).code == NS_INVALID, "adamw clips by stats only");
  check(run(1, &k::adamw8, p8, {&param, &grad, &codes, &codes2, &scale, &scale2, &none, &none}, {}).code == NS_INVALID, "adamw8 too");
  check(run(1, &k::sgd, q, {&param, &grad, &m, &none, &none}, {}).code == NS_INVALID, "sgd too");
  const op::sgd::Params momentum{0.1f, 0.9f, 0, 0, 1, 0};
  check(run(1, &k::sgd, momentum, {&param, &grad, &none, &none, &none}, {}).code == NS_INVALID, "sgd: momentum needs velocity");
}

double decodeM(uint8_t c, double scale) { return scale * (c < 128 ? -1 : 1) * std::pow((c - 128) / 127.0, 2); }
double decodeV(uint8_t c, double scale) { return scale * std::pow(c / 255.0, 2); }

// Whether code c is a nearest one to x, up to a rounding error.
bool nearest(double x, uint8_t c, double scale, bool isM) {
  const auto value = [&](int i) { return isM ? decodeM(static_cast<uint8_t>(i), scale) : decodeV(static_cast<uint8_t>(i), scale); };
  const double own = std::abs(x - value(c)), slack = 4e-7 * scale;
  if (!isM && x > 0 && c == 1 && x < value(1)) return true;
  if (isM && c == 0) return false;
  return (c == 255 || own <= std::abs(x - value(c + 1)) + slack) && (c == (isM ? 1 : 0) || own <= std::abs(x - value(c - 1)) + slack);
}

void testAdamw8(const char* target) {
  for (const int64_t n : {1, 255, 256, 700, 16384 + 257}) {
    for (const op::adamw::Params& p : kSteps) {
      for (const DType type : {DType::f32, DType::bf16}) {
        op::adamw8::Params p8;
        std::memcpy(&p8, &p, sizeof(p8));
        const int64_t blocks = (n + 255) / 256;
        Rng rng(static_cast<uint64_t>(n));
        Tensor param = narrow(normals(n, 1, 0.1), type), grad = narrow(normals(n, 2), type),
               master = narrow(normals(n, 1, 0.1), DType::f32);
        Tensor m({n}, DType::u8), v({n}, DType::u8), ms({blocks}), vs({blocks}), stats({2});
        for (int64_t i = 0; i < n; i++)
          m.as<uint8_t>()[i] = static_cast<uint8_t>(rng.next()), v.as<uint8_t>()[i] = static_cast<uint8_t>(rng.next());
        ms.fill([&](int64_t b) { return b == 1 ? 0.0 : 0.3; });
        vs.fill([&](int64_t b) { return b == 1 ? 1e-30 : 0.02; });
        stats.as()[0] = 400;
        stats.as()[1] = 0;
        const double norm = 20 * p.invScale, factor = p.invScale * (p.maxNorm > 0 ? std::min(1.0, p.maxNorm / (norm + 1e-6)) : 1.0);
        const std::vector<float> g = wide(grad);
        std::vector<double> wantP, wantM, wantV, topM(static_cast<size_t>(blocks), 0.0), topV = topM;
        for (int64_t i = 0; i < n; i++) {
          const size_t at = static_cast<size_t>(i), b = at / 256;
          const Moments r =
              adam(p, factor, master.as()[i], g[at], decodeM(m.as<uint8_t>()[i], ms.as()[b]), decodeV(v.as<uint8_t>()[i], vs.as()[b]));
          wantP.push_back(r.p);
          wantM.push_back(r.m);
          wantV.push_back(r.v);
          topM[b] = std::max(topM[b], std::abs(r.m));
          topV[b] = std::max(topV[b], r.v);
        }
        Tensor param2 = param, master2 = master, m2 = m, v2 = v, ms2 = ms, vs2 = vs;
        check(run(1, &k::adamw8, p8, {&param, &grad, &m, &v, &ms, &vs, &master, &stats}, {}).ok(), "adamw8 runs");
        run(2, &k::adamw8, p8, {&param2, &grad, &m2, &v2, &ms2, &vs2, &master2, &stats}, {});
        check(same(param, param2) && same(m, m2) && same(v, v2) && same(ms, ms2) && same(vs, vs2), "adamw8: threads change bits");
        const std::string what = std::string("adamw8 ") + target + " " + dtypeName(type) + " n " + std::to_string(n);
        close(master, wantP, 0.1, 1e-6, what + " master");
        close(ms, topM, 1e-6, 1e-6, what + " mScale");
        close(vs, topV, 1e-6, 1e-6, what + " vScale");
        int64_t bad = 0;
        for (int64_t i = 0; i < n; i++) {
          const size_t at = static_cast<size_t>(i), b = at / 256;
          bad += !nearest(wantM[at], m.as<uint8_t>()[i], topM[b], true) || !nearest(wantV[at], v.as<uint8_t>()[i], topV[b], false);
        }
        check(bad == 0, what.c_str(), std::to_string(bad) + " codes are not the nearest");
      }
    }
  }
}

void testAdamw8Limits(const char* target) {
  // Nothing to learn: scale 0, the codes of 0, and the next step starts from there.
  Tensor param = narrow(normals(300, 1), DType::f32), start = param, grad({300}), m({300}, DType::u8), v({300}, DType::u8), ms({2}),
         vs({2}), none;
  grad.fill([](int64_t) { return 0; });
  ms.fill([](int64_t) { return 0; });
  vs.fill([](int64_t) { return 0; });
  std::memset(m.data(), 0, 300);
  std::memset(v.data(), 9, 300);
  const op::adamw8::Params p{1e-2f, 0.9f, 0.95f, 1e-8f, 0, 1, 1, 1, 0};
  for (int step = 0; step < 2; step++) run(2, &k::adamw8, p, {&param, &grad, &m, &v, &ms, &vs, &none, &none}, {});
  bool zero = same(param, start) && ms.as()[0] == 0 && ms.as()[1] == 0 && vs.as()[0] == 0 && vs.as()[1] == 0;
  for (int i = 0; i < 300; i++) zero = zero && m.as<uint8_t>()[i] == 128 && v.as<uint8_t>()[i] == 0;
  check(zero, "a block of zeros has scale 0", target);
  // A gradient far below the largest of its block keeps a second moment, so that its step stays bounded.
  grad.fill([](int64_t i) { return i == 3 ? 1 : i % 2 ? 0 : -1e-5; });
  run(2, &k::adamw8, p, {&param, &grad, &m, &v, &ms, &vs, &none, &none}, {});
  bool kept = v.as<uint8_t>()[3] == 255 && m.as<uint8_t>()[3] == 255;
  for (int i = 0; i < 256; i++) kept = kept && (i == 3 || v.as<uint8_t>()[i] == (i % 2 ? 0 : 1));
  check(kept, "v > 0 takes code 1 at least", target);
}

void testSgd(const char* target) {
  const op::sgd::Params steps[] = {{0.1f, 0.9f, 0, 0.01f, 1, 0}, {0.1f, 0.9f, 1, 0, 0.5f, 2}, {0.1f, 0, 0, 0.1f, 1, 0}};
  for (const int64_t n : {1, 33, 1029, 40003}) {
    for (const op::sgd::Params& p : steps) {
      for (const DType type : {DType::f32, DType::bf16}) {
        Tensor param = narrow(normals(n, 1), type), grad = narrow(normals(n, 2), type), master = narrow(normals(n, 1), DType::f32);
        Tensor velocity = narrow(normals(n, 3), DType::f32), stats({2}), none;
        stats.as()[0] = 400;
        stats.as()[1] = 0;
        const double norm = 20 * p.invScale, factor = p.invScale * (p.maxNorm > 0 ? std::min(1.0, p.maxNorm / (norm + 1e-6)) : 1.0);
        const std::vector<float> g0 = wide(grad);
        std::vector<double> wantP, wantV;
        for (int64_t i = 0; i < n; i++) {
          const double x = master.as()[i], g = g0[static_cast<size_t>(i)] * factor + p.weightDecay * x;
          const double v = p.momentum > 0 ? p.momentum * velocity.as()[i] + g : g;
          wantV.push_back(v);
          wantP.push_back(x - p.lr * (p.nesterov ? g + p.momentum * v : v));
        }
        Tensor param2 = param, master2 = master, velocity2 = velocity;
        const bool moving = p.momentum > 0;
        check(run(1, &k::sgd, p, {&param, &grad, moving ? &velocity : &none, &master, &stats}, {}).ok(), "sgd runs");
        run(2, &k::sgd, p, {&param2, &grad, moving ? &velocity2 : &none, &master2, &stats}, {});
        check(same(param, param2) && same(master, master2) && same(velocity, velocity2), "sgd: threads change bits");
        const std::string what = std::string("sgd ") + target + " " + dtypeName(type);
        close(master, wantP, 0.5, 5e-7, what + " p");
        if (moving) close(velocity, wantV, 0.5, 5e-7, what + " velocity");
        Tensor rounded = narrow(wide(master), type);
        check(same(rounded, param), "the parameter is the rounded master");
      }
    }
  }
}
}  // namespace

int main() {
  eachTarget([](const char* target) {
    testGradStats(target);
    testAdamw(target);
    testAdamw8(target);
    testAdamw8Limits(target);
    testSgd(target);
  });
  testSkip();
  return finish();
}

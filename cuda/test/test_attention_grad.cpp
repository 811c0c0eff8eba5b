// attention_grad against plain double loops: both arithmetics, norms, limits, widths and dtypes, the same bits in every order of threads.
#include "cuda/test/attention_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {

struct Gradient {
  Doubles x, mul;
};

Gradient gradient(const Case& c, const Data& d, const Doubles& y, const Doubles& lse, const Doubles& dy) {
  Gradient r{Doubles(d.x.size()), Doubles(static_cast<size_t>(c.H))};
  const auto through = [&](const double* x, Doubles g, double* to) {
    const Doubles u = unit(x, c.c, true);
    const double n = std::sqrt(dot(x, x, c.c)), along = dot(u.data(), g.data(), c.c);
    for (int e = 0; e < c.c; e++) {
      const auto i = static_cast<size_t>(e);
      to[e] = c.scaleMul ? (n > 1e-12 ? (g[i] - u[i] * along) / n : g[i] / 1e-12) : g[i];
    }
  };
  for (int b = 0; b < c.B; b++) {
    for (int h = 0; h < c.H; h++) {
      const auto l = static_cast<size_t>(c.l), w = static_cast<size_t>(c.c);
      std::vector<Doubles> dq(l, Doubles(w)), dk(l, Doubles(w)), dv(l, Doubles(w));
      const double factor = factorOf(c, d, h);
      for (size_t i = 0; i < l; i++) {
        const int row = static_cast<int>(i);
        const Doubles q = unit(part(c, d, b, row, h, 0), c.c, c.scaleMul);
        const size_t at = static_cast<size_t>((b * c.l + row) * c.H + h) * w;
        const double mean = dot(&y[at], &dy[at], c.c);
        const auto seen = static_cast<size_t>(d.seen.empty() ? c.l : d.seen[i]);
        for (size_t j = 0; j < seen; j++) {
          const Doubles k = unit(part(c, d, b, static_cast<int>(j), h, 1), c.c, c.scaleMul);
          const double s = dot(q.data(), k.data(), c.c) * factor, p = std::exp(s - lse[static_cast<size_t>((b * c.H + h) * c.l + row)]);
          const double ds = p * (dot(&dy[at], part(c, d, b, static_cast<int>(j), h, 2), c.c) - mean);
          if (d.factors[static_cast<size_t>(h)] <= kMaxMul) r.mul[static_cast<size_t>(h)] += ds * s;
          for (size_t e = 0; e < w; e++) {
            dv[j][e] += p * dy[at + e];
            dq[i][e] += ds * factor * k[e];
            dk[j][e] += ds * factor * q[e];
          }
        }
      }
      for (int i = 0; i < c.l; i++) {
        double* const to = r.x.data() + (part(c, d, b, i, h, 0) - d.x.data());
        through(part(c, d, b, i, h, 0), dq[static_cast<size_t>(i)], to);
        through(part(c, d, b, i, h, 1), dk[static_cast<size_t>(i)], to + c.H * c.c);
        std::copy(dv[static_cast<size_t>(i)].begin(), dv[static_cast<size_t>(i)].end(), to + 2 * c.H * c.c);
      }
    }
  }
  return r;
}

void backward(const Case& c) {
  const std::string name = describe(c);
  Data d(c, 11);
  std::mt19937 rng(5);
  const Forward f = reference(c, d);
  const Doubles y = d.y.set(f.y), lse = d.lse.set(f.lse);
  Buffer dy({c.B, c.l, c.H * c.c}, c.type, c.shift);
  const Doubles dyHeld = dy.random(rng);
  const Gradient want = gradient(c, d, y, lse, dyHeld);
  Doubles first, firstMul;
  eachOrder([&] {
    Buffer dqkv({c.B, c.l, 3 * c.H * c.c}, c.type, c.shift), dMul({c.H}, DType::f32);
    const Doubles before = dMul.set(Doubles(static_cast<size_t>(c.H), 0.5));
    const op::attention_grad::Params p = {c.H, c.c, c.scale, kMaxMul};
    const Status st = run<op::attention_grad::Params>(
        device.context(c.sms), ops::attention_grad, p,
        {&d.qkv, &d.y, &dy, &d.lse, c.scaleMul ? &d.mul : nullptr, d.seen.empty() ? nullptr : &d.visible, c.scaleMul ? &dMul : nullptr},
        {&dqkv});
    check(st.ok(), "attention_grad", name + ": " + st.message);
    const Doubles got = dqkv.get(), mul = dMul.get();
    const double tol = c.type == DType::f32 ? 2e-5 : 6 * roundingOf(c.type);
    check(dqkv.guarded() && dMul.guarded(), "attention_grad: nothing else is written", name);
    if (first.empty()) {
      const double e = errorOf(got, want.x);
      check(e <= tol, "attention_grad: dqkv", name + " error " + std::to_string(e));
      Doubles wantMul = before;
      for (size_t h = 0; c.scaleMul && h < wantMul.size(); h++) wantMul[h] += want.mul[h];
      const double em = errorOf(mul, wantMul);
      check(em <= tol, "attention_grad: dScaleMul", name + " error " + std::to_string(em));
      first = got;
      firstMul = mul;
    }
    check(got == first && mul == firstMul, "attention_grad: same bits in every order", name);
  });
}

std::vector<Case> backwards() {
  std::vector<Case> all;
  for (DType t : {f32, f16t, bf16t}) {
    for (int l : {1, 4, 9, 64}) all.push_back({1, l, 2, 64, t, 0.5f, l == 4, {}});
    all.push_back({1, 255, 1, 64, t, 0.03125f, false, {1, 4, 9, 16, 25, 36, 64, 100}});
    all.push_back({2, 55, 3, 64, t, 1, true, kLevels});
    all.push_back({1, 130, 2, 48, t, 1, true, {}});
    for (int c : {33, 80, 160}) all.push_back({1, 17, 2, c, t, 0.2f, c != 80, {}});
    all.push_back({1, 9, 2, 64, t, 1, true, {}, 0, 0, false, t, 4, 1});
  }
  return all;
}

// Limits out of range are told of and make their rows NaN.
void edges(DType t) {
  const Case c = {1, 14, 2, 64, t, 1, true, {1, 4, 9}};
  for (int bad : {0, 15, -3}) {
    Data d(c, 3);
    d.y.set(Doubles(14 * 128, 0.0));
    d.lse.set(Doubles(28, 3.0));
    d.seen[6] = bad;
    d.putVisible();
    Buffer dqkv({1, 14, 384}, t);
    const op::attention_grad::Params p = {2, 64, 1, kMaxMul};
    Buffer dy({1, 14, 128}, t);
    dy.set(Doubles(14 * 128, 1.0));
    check(run<op::attention_grad::Params>(device.context(4), ops::attention_grad, p,
                                          {&d.qkv, &d.y, &dy, &d.lse, &d.mul, &d.visible, nullptr}, {&dqkv})
              .ok(),
          "attention_grad: late error");
    const DeviceError e = device.takeError();
    check(e.code == NS_INDEX && e.at == 6, "attention_grad: limit out of range", dtypeName(t));
    check(std::isnan(dqkv.get()[6 * 384]), "attention_grad: NaN in its row", dtypeName(t));
  }
  // A query of zeros gives the keys nothing.
  Data q(c, 3);
  for (int e = 0; e < 64; e++) q.x[static_cast<size_t>(5 * 384 + e)] = 0;
  q.x = q.qkv.set(q.x);
  const Forward f = reference(c, q);
  const Doubles y = q.y.set(f.y), lse = q.lse.set(f.lse);
  Buffer dy({1, 14, 128}, t), dqkv({1, 14, 384}, t);
  std::mt19937 rng(5);
  const Doubles held = dy.random(rng);
  Doubles want = gradient(c, q, y, lse, held).x;
  const op::attention_grad::Params p = {2, 64, 1, kMaxMul};
  run<op::attention_grad::Params>(device.context(4), ops::attention_grad, p, {&q.qkv, &q.y, &dy, &q.lse, &q.mul, &q.visible, nullptr},
                                  {&dqkv});
  Doubles got = dqkv.get();
  for (int e = 0; e < 64; e++) got[static_cast<size_t>(5 * 384 + e)] = want[static_cast<size_t>(5 * 384 + e)] = 0;
  check(errorOf(got, want) <= (t == f32 ? 2e-5 : 6 * roundingOf(t)), "attention_grad: a query of zeros", dtypeName(t));
}

}  // namespace

int main() {
  for (const Case& c : backwards()) backward(c);
  for (DType t : {f32, f16t, bf16t}) edges(t);
  return ns::test::finish();
}

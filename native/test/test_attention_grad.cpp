// attention_grad against plain loops in double, fed by attention itself; lse; bad `visible`; thread counts and SIMD targets.
#include <algorithm>

#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
using Values = std::vector<double>;

namespace {

struct Case {
  int64_t B, l, H, c;
  float scale;
  bool scaleMul;
  std::vector<int> levels;  // not empty: visible
};

size_t z(int64_t i) { return static_cast<size_t>(i); }

struct Want {
  Values dqkv, lse, dScale;
};

// One (batch, head) in double.
void reference(const Case& c, Tensor& qkv, Tensor& dy, Tensor& visible, const float* scaleMul, int64_t b, int64_t h, Want* w) {
  const int64_t n = c.c, l = c.l, stride = 3 * c.H * n;
  const auto row = [&](int64_t i, int part) { return (b * l + i) * stride + (part * c.H + h) * n; };
  double factor = c.scale;
  if (scaleMul) factor *= std::exp(std::min(static_cast<double>(scaleMul[h]), 4.605170185988092));
  Values unit[2], norm[2], grad[3];
  for (auto& g : grad) g.assign(z(l * n), 0);
  for (int part = 0; part < 2; part++) {
    for (int64_t i = 0; i < l; i++) {
      const float* x = qkv.as<float>() + row(i, part);
      double s = 0;
      for (int64_t k = 0; k < n; k++) s += static_cast<double>(x[k]) * x[k];
      norm[part].push_back(scaleMul ? std::max(std::sqrt(s), 1e-12) : 1);
      for (int64_t k = 0; k < n; k++) unit[part].push_back(x[k] / norm[part].back());
    }
  }
  const auto dot = [&](const double* x, const double* y) {
    double s = 0;
    for (int64_t k = 0; k < n; k++) s += x[k] * y[k];
    return s;
  };
  for (int64_t i = 0; i < l; i++) {
    const int64_t sees = visible.bytes ? visible.as<int32_t>()[i] : l;
    const float* g = dy.as<float>() + ((b * l + i) * c.H + h) * n;
    Values score(z(sees)), dp(z(sees));
    double top = -INFINITY, sum = 0, mean = 0;
    for (int64_t j = 0; j < sees; j++) top = std::max(top, score[z(j)] = factor * dot(&unit[0][z(i * n)], &unit[1][z(j * n)]));
    for (double s : score) sum += std::exp(s - top);
    const double lse = top + std::log(sum);
    w->lse[z((b * c.H + h) * l + i)] = lse;
    for (int64_t j = 0; j < sees; j++) {
      for (int64_t k = 0; k < n; k++) dp[z(j)] += static_cast<double>(g[k]) * qkv.as<float>()[row(j, 2) + k];
      mean += std::exp(score[z(j)] - lse) * dp[z(j)];
    }
    for (int64_t j = 0; j < sees; j++) {
      const double p = std::exp(score[z(j)] - lse), ds = p * (dp[z(j)] - mean);
      w->dScale[z(h)] += ds * score[z(j)];
      for (int64_t k = 0; k < n; k++) {
        grad[0][z(i * n + k)] += ds * factor * unit[1][z(j * n + k)];
        grad[1][z(j * n + k)] += ds * factor * unit[0][z(i * n + k)];
        grad[2][z(j * n + k)] += p * g[k];
      }
    }
  }
  for (int part = 0; part < 3; part++) {
    for (int64_t i = 0; i < l; i++) {
      const double* g = &grad[part][z(i * n)];
      const bool normal = part < 2 && scaleMul;
      const double length = normal ? norm[part][z(i)] : 1, along = normal && length > 1e-12 ? dot(&unit[part][z(i * n)], g) : 0;
      for (int64_t k = 0; k < n; k++) w->dqkv[z(row(i, part) + k)] = (g[k] - (normal ? along * unit[part][z(i * n + k)] : 0)) / length;
    }
  }
}

void near(Tensor& got, const Values& want, double tol, const std::string& what) {
  double worst = 0, top = 1;
  for (double v : want) top = std::max(top, std::abs(v));
  for (int64_t i = 0; i < got.size(); i++) {
    const double e = std::abs(got.as<float>()[i] - want[z(i)]) / top;
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
  }
  check(worst <= tol, what.c_str(), "error " + std::to_string(worst * 1e6) + "e-6 above " + std::to_string(tol * 1e6) + "e-6");
}

void one(const Case& c, const char* target) {
  Rng rng(static_cast<uint64_t>(c.l * 1000 + c.c));
  const op::attention::Params fp = {static_cast<int32_t>(c.H), static_cast<int32_t>(c.c), c.scale, 4.605170185988092f, 0, 0};
  const op::attention_grad::Params bp = {fp.heads, fp.width, fp.scale, fp.maxScaleMul};
  Tensor qkv = Tensor({c.B, c.l, 3 * c.H * c.c}).normal(rng), dy = Tensor({c.B, c.l, c.H * c.c}).normal(rng);
  Tensor y({c.B, c.l, c.H * c.c}), lse({c.B, c.H, c.l}), scaleMul, visible, dScale, none;
  Tensor before = Tensor({c.H}).normal(rng);
  // The first head's scale is clamped. One query and one key are zero: their gradients of 1e12 hide all others of that case.
  if (c.scaleMul) {
    scaleMul = Tensor({c.H}).fill([&](int64_t i) { return i == 0 && c.H > 1 ? 5.5 : 1.0 + 0.3 * static_cast<double>(i); });
    dScale = before;
    if (c.l == 30) std::fill(qkv.as<float>() + 3 * c.H * c.c * 3, qkv.as<float>() + 3 * c.H * c.c * 3 + 2 * c.H * c.c, 0.0f);
  }
  if (!c.levels.empty()) {
    visible = Tensor({c.l}, DType::i32);
    int64_t total = 0, i = 0;
    for (int n : c.levels) {
      total += n;
      for (int k = 0; k < n; k++) visible.as<int32_t>()[i++] = static_cast<int32_t>(total);
    }
  }
  const std::string what = std::string(target) + " l " + std::to_string(c.l) + " c " + std::to_string(c.c);
  check(run(2, cpu::kernels::attention, fp, {&qkv, &scaleMul, &visible, &none, &none, &lse}, {&y}).ok(), "attention status");
  Want want = {Values(z(qkv.size())), Values(z(lse.size())), Values(z(c.H))};
  for (int64_t i = 0; i < c.B * c.H; i++)
    reference(c, qkv, dy, visible, c.scaleMul ? scaleMul.as<float>() : nullptr, i / c.H, i % c.H, &want);
  near(lse, want.lse, 2e-6, "lse " + what);
  Tensor dqkv({c.B, c.l, 3 * c.H * c.c}), dqkv3({c.B, c.l, 3 * c.H * c.c}), dScale3 = dScale;
  check(run(1, cpu::kernels::attention_grad, bp, {&qkv, &y, &dy, &lse, &scaleMul, &visible, &dScale}, {&dqkv}).ok(),
        "attention_grad status");
  run(3, cpu::kernels::attention_grad, bp, {&qkv, &y, &dy, &lse, &scaleMul, &visible, &dScale3}, {&dqkv3});
  check(same(dqkv, dqkv3) && same(dScale, dScale3), "attention_grad: same bits for every thread count", what);
  near(dqkv, want.dqkv, c.scaleMul ? 3e-5 : 5e-6, "attention_grad " + what);
  if (!c.scaleMul) return;
  for (int64_t h = 0; h < c.H; h++)
    want.dScale[z(h)] = before.as<float>()[h] + (scaleMul.as<float>()[h] <= fp.maxScaleMul ? want.dScale[z(h)] : 0);
  near(dScale, want.dScale, 2e-5, "attention_grad dScaleMul " + what);
  if (c.H > 1) check(dScale.as<float>()[0] == before.as<float>()[0], "attention_grad: no gradient through the clamp", what);
}

void all(const char* target) {
  const Case cases[] = {{2, 30, 2, 64, 1, true, {1, 4, 9, 16}},
                        {1, 255, 1, 64, 0.03125f, false, {1, 4, 9, 16, 25, 36, 64, 100}},
                        {1, 255, 3, 64, 1, true, {1, 4, 9, 16, 25, 36, 64, 100}},
                        {5, 100, 4, 16, 0.25f, false, {100}},  // heads enough: none is split
                        {2, 17, 1, 96, 0.1f, false, {}},
                        {1, 197, 1, 20, 0.2f, false, {}},
                        {1, 3, 2, 33, 1, true, {}},
                        {1, 1, 1, 5, 1, false, {}},
                        {1, 49, 1, 160, 0.08f, false, {}},
                        {4, 97, 4, 1, 1, false, {1, 96}}};
  for (const Case& c : cases) one(c, target);
  Tensor qkv({1, 3, 12}), y({1, 3, 4}), lse({1, 1, 3}), visible({3}, DType::i32), none, dqkv({1, 3, 12});
  for (int bad : {0, 4}) {
    visible.fill([&](int64_t i) { return i == 2 ? bad : 1; });
    const Status s =
        run(1, cpu::kernels::attention_grad, op::attention_grad::Params{1, 4, 1, 4.6f}, {&qkv, &y, &y, &lse, &none, &visible}, {&dqkv});
    check(s.code == NS_INDEX, "attention_grad: visible out of range", s.message);
  }
}

}  // namespace

int main() {
  eachTarget(all);
  return finish();
}

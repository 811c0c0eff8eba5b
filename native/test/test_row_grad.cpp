// Gradients of row-wise ops against plain loops in double: odd sizes, every SIMD target, thread counts, bad indices.
#include <algorithm>

#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
using Values = std::vector<double>;

namespace {

size_t z(int64_t i) { return static_cast<size_t>(i); }

// Largest value, at least 1: what errors of sums are relative to.
double largest(const Values& v) {
  double m = 1;
  for (double x : v) m = std::max(m, std::abs(x));
  return m;
}

void near(Tensor& got, const Values& want, double tol, const std::string& what) {
  double worst = 0;
  for (int64_t i = 0; i < got.size(); i++) {
    const double e = std::abs(got.as<float>()[i] - want[z(i)]);
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
  }
  worst /= largest(want);
  check(worst <= tol, what.c_str(), "error " + std::to_string(worst * 1e6) + "e-6 above " + std::to_string(tol * 1e6) + "e-6");
}

Values copy(Tensor& t) { return Values(t.as<float>(), t.as<float>() + t.size()); }

void crossEntropy(const char* target) {
  for (int64_t V : {1, 2, 7, 33, 64, 1031, 4096}) {
    for (float smooth : {0.0f, 0.1f}) {
      const int64_t rows = 11;
      Rng rng(static_cast<uint64_t>(V));
      Tensor x = Tensor({rows, V}).normal(rng, 4), t = Tensor({rows}, DType::i32).fill([&](int64_t i) { return i * 37 % V; });
      Tensor dLoss = Tensor({rows}).normal(rng), loss({rows}), loss3({rows}), dx({rows, V}), dx3({rows, V});
      x.as<float>()[0] = V > 1 ? 90 : 0;  // a row that is nearly certain
      Values wantLoss, want;
      for (int64_t r = 0; r < rows; r++) {
        const float* row = x.as<float>() + r * V;
        const double top = *std::max_element(row, row + V);
        const int64_t k = t.as<int32_t>()[r];
        double sum = 0, mean = 0;
        for (int64_t i = 0; i < V; i++) sum += std::exp(row[i] - top);
        const double log = top + std::log(sum);
        for (int64_t i = 0; i < V; i++) mean += (row[i] - log) / static_cast<double>(V);
        const double even = smooth / static_cast<double>(V);
        wantLoss.push_back(-(1.0 - smooth) * (row[k] - log) - smooth * mean);
        for (int64_t i = 0; i < V; i++)
          want.push_back(dLoss.as<float>()[r] * (std::exp(row[i] - log) - even - (i == k ? 1.0 - smooth : 0)));
      }
      run(1, cpu::kernels::cross_entropy, op::cross_entropy::Params{smooth}, {&x, &t}, {&loss});
      run(3, cpu::kernels::cross_entropy, op::cross_entropy::Params{smooth}, {&x, &t}, {&loss3});
      run(1, cpu::kernels::cross_entropy_grad, op::cross_entropy_grad::Params{smooth}, {&x, &t, &dLoss}, {&dx});
      run(3, cpu::kernels::cross_entropy_grad, op::cross_entropy_grad::Params{smooth}, {&x, &t, &dLoss}, {&dx3});
      close(loss, wantLoss, 1, 1e-6, std::string("cross_entropy ") + target + " V " + std::to_string(V));
      near(dx, want, 2e-6, std::string("cross_entropy_grad ") + target + " V " + std::to_string(V));
      check(same(loss, loss3) && same(dx, dx3), "cross_entropy: same bits for every thread count", target);
    }
  }
  Tensor x = Tensor({3, 5}).fill([](int64_t i) { return i == 2 || i == 4 ? -INFINITY : i == 7 ? NAN : 1.0; });
  Tensor t = Tensor({3}, DType::i32).fill([](int64_t i) { return i == 2 ? 4 : 0; }), one = Tensor({3}).fill([](int64_t) { return 1; });
  Tensor loss({3}), dx({3, 5});
  run(1, cpu::kernels::cross_entropy, op::cross_entropy::Params{0}, {&x, &t}, {&loss});
  const float* l = loss.as<float>();
  check(std::abs(l[0] - std::log(3.0f)) < 1e-6f && std::isnan(l[1]) && std::abs(l[2] - std::log(5.0f)) < 1e-6f,
        "cross_entropy: infinities and NaN", target);
  for (int bad : {-1, 5}) {
    t.as<int32_t>()[1] = bad;
    check(run(1, cpu::kernels::cross_entropy, op::cross_entropy::Params{0}, {&x, &t}, {&loss}).code == NS_INDEX, "cross_entropy: index");
    check(run(1, cpu::kernels::cross_entropy_grad, op::cross_entropy_grad::Params{0}, {&x, &t, &one}, {&dx}).code == NS_INDEX,
          "cross_entropy_grad: index");
  }
}

void layerNormGrad(const char* target) {
  struct Case {
    int64_t B, l, C, Bm, G;
    op::layer_norm_grad::Params p;
    double offset;
  };
  const Case cases[] = {{2, 5, 128, 2, 6, {1e-6f, 2, 4}, 0},   {3, 4, 67, 0, 0, {1e-6f, 0, 1}, 0}, {2, 70, 96, 1, 2, {1e-6f, 0, 1}, 0},
                        {2, 33, 1030, 2, 2, {1e-6f, 1, 0}, 0}, {1, 2, 1, 1, 2, {1e-6f, 0, 1}, 0},  {2, 30, 19, 2, 2, {1e-6f, 1, 0}, 100}};
  for (const Case& c : cases) {
    Rng rng(static_cast<uint64_t>(c.C));
    Tensor x = Tensor({c.B, c.l, c.C}).fill([&](int64_t) { return rng.normal() + c.offset; }), dy = Tensor({c.B, c.l, c.C}).normal(rng);
    Tensor mod, before;
    if (c.Bm) {
      mod = Tensor({c.Bm, c.G, c.C}).normal(rng);
      before = Tensor({c.Bm, c.G, c.C}).normal(rng);
    }
    Values want, wantMod = c.Bm ? copy(before) : Values();
    for (int64_t r = 0; r < c.B * c.l; r++) {
      const float *v = x.as<float>() + r * c.C, *g = dy.as<float>() + r * c.C;
      const int64_t image = (c.Bm == 1 ? 0 : r / c.l) * c.G * c.C, n = c.C;
      double mean = 0, var = 0, level = 0, slope = 0;
      for (int64_t i = 0; i < n; i++) mean += v[i] / static_cast<double>(n);
      for (int64_t i = 0; i < n; i++) var += (v[i] - mean) * (v[i] - mean) / static_cast<double>(n);
      const double rstd = 1 / std::sqrt(var + c.p.eps);
      const auto inner = [&](int64_t i) { return c.Bm ? g[i] * (1.0 + mod.as<float>()[image + c.p.scaleAt * n + i]) : g[i]; };
      for (int64_t i = 0; i < n; i++) level += inner(i) / static_cast<double>(n);
      for (int64_t i = 0; i < n; i++) slope += inner(i) * (v[i] - mean) * rstd / static_cast<double>(n);
      for (int64_t i = 0; i < n; i++) {
        const double xh = (v[i] - mean) * rstd;
        want.push_back(rstd * (inner(i) - level - xh * slope));
        if (!c.Bm) continue;
        wantMod[z(image + c.p.scaleAt * n + i)] += g[i] * xh;
        wantMod[z(image + c.p.shiftAt * n + i)] += g[i];
      }
    }
    Tensor dx({c.B, c.l, c.C}), dx3({c.B, c.l, c.C}), dMod = before, dMod3 = before;
    check(run(1, cpu::kernels::layer_norm_grad, c.p, {&x, &dy, &mod, &dMod}, {&dx}).ok(), "layer_norm_grad status");
    run(3, cpu::kernels::layer_norm_grad, c.p, {&x, &dy, &mod, &dMod3}, {&dx3});
    const std::string what = std::string("layer_norm_grad ") + target + " C " + std::to_string(c.C);
    near(dx, want, c.offset ? 4e-5 : 2e-6, what);
    if (c.Bm) near(dMod, wantMod, c.offset ? 4e-5 : 2e-6, what + " dMod");
    check(same(dx, dx3) && same(dMod, dMod3), "layer_norm_grad: same bits for every thread count", target);
  }
  Tensor x({1, 2, 8}), mod({1, 2, 8}), dMod({1, 2, 8}), dx({1, 2, 8});
  const op::layer_norm_grad::Params bad = {1e-6f, 0, 2};
  check(run(1, cpu::kernels::layer_norm_grad, bad, {&x, &x, &mod, &dMod}, {&dx}).code == NS_INVALID, "layer_norm_grad: shiftAt");
}

void groupNormGrad(const char* target) {
  struct Case {
    int64_t B, h, w, C;
    op::group_norm_grad::Params p;
    double offset;
  };
  const Case cases[] = {{2, 5, 7, 64, {32, 1e-6f, 1}, 0},   {1, 16, 16, 160, {32, 1e-6f, 0}, 0}, {2, 4, 4, 12, {3, 1e-6f, 0}, 0},
                        {1, 33, 41, 36, {4, 1e-6f, 1}, 30}, {1, 1, 1, 7, {7, 1e-6f, 0}, 0},      {3, 40, 67, 84, {2, 1e-6f, 1}, 0},
                        {2, 64, 67, 5, {1, 1e-6f, 1}, -5}};
  for (const Case& c : cases) {
    Rng rng(static_cast<uint64_t>(c.C + c.w));
    const int64_t P = c.h * c.w, W = c.C / c.p.groups;
    Tensor x =
        Tensor({c.B, c.h, c.w, c.C}).fill([&](int64_t i) { return c.offset + 0.3 * static_cast<double>(i % c.C % 5) + rng.normal(); });
    Tensor dy = Tensor({c.B, c.h, c.w, c.C}).normal(rng), gamma = Tensor({c.C}).normal(rng), beta = Tensor({c.C}).normal(rng),
           before = beta;
    Values want(z(x.size())), dGammaWant = copy(before), dBetaWant = copy(before);
    for (int64_t b = 0; b < c.B; b++) {
      for (int64_t g = 0; g < c.p.groups; g++) {
        const auto each = [&](auto f) {
          for (int64_t i = 0; i < P; i++) {
            for (int64_t k = g * W; k < (g + 1) * W; k++) f((b * P + i) * c.C + k, k);
          }
        };
        const double n = static_cast<double>(P * W);
        double mean = 0, var = 0, level = 0, slope = 0;
        each([&](int64_t i, int64_t) { mean += x.as<float>()[i] / n; });
        each([&](int64_t i, int64_t) { var += (x.as<float>()[i] - mean) * (x.as<float>()[i] - mean) / n; });
        const double rstd = 1 / std::sqrt(var + c.p.eps);
        const auto xh = [&](int64_t i) { return (x.as<float>()[i] - mean) * rstd; };
        const auto dz = [&](int64_t i, int64_t k) {
          if (!c.p.silu) return static_cast<double>(dy.as<float>()[i]);
          const double v = xh(i) * gamma.as<float>()[k] + beta.as<float>()[k], s = 1 / (1 + std::exp(-v));
          return dy.as<float>()[i] * (s + v * s * (1 - s));
        };
        each([&](int64_t i, int64_t k) {
          level += dz(i, k) * gamma.as<float>()[k] / n;
          slope += dz(i, k) * gamma.as<float>()[k] * xh(i) / n;
          dGammaWant[z(k)] += dz(i, k) * xh(i);
          dBetaWant[z(k)] += dz(i, k);
        });
        each([&](int64_t i, int64_t k) { want[z(i)] = rstd * (dz(i, k) * gamma.as<float>()[k] - level - xh(i) * slope); });
      }
    }
    Tensor dx({c.B, c.h, c.w, c.C}), dx3({c.B, c.h, c.w, c.C}), dGamma = before, dBeta = before, dGamma3 = before, dBeta3 = before;
    check(run(1, cpu::kernels::group_norm_grad, c.p, {&x, &dy, &gamma, &beta, &dGamma, &dBeta}, {&dx}).ok(), "group_norm_grad status");
    run(3, cpu::kernels::group_norm_grad, c.p, {&x, &dy, &gamma, &beta, &dGamma3, &dBeta3}, {&dx3});
    const std::string what = std::string("group_norm_grad ") + target + " C " + std::to_string(c.C);
    // With one value per group rstd is 1000: what is left of dx is rounding.
    if (P * W > 1) near(dx, want, 4e-6, what);
    near(dGamma, dGammaWant, 4e-6, what + " dGamma");
    near(dBeta, dBetaWant, 4e-6, what + " dBeta");
    check(same(dx, dx3) && same(dGamma, dGamma3) && same(dBeta, dBeta3), "group_norm_grad: same bits for every thread count", target);
    Tensor last({1, c.h, c.w, c.C}), dLast({1, c.h, c.w, c.C}), alone({1, c.h, c.w, c.C});
    std::memcpy(last.data(), x.as<float>() + (c.B - 1) * P * c.C, last.bytes);
    std::memcpy(dLast.data(), dy.as<float>() + (c.B - 1) * P * c.C, last.bytes);
    run(2, cpu::kernels::group_norm_grad, c.p, {&last, &dLast, &gamma, &beta}, {&alone});
    check(!std::memcmp(alone.data(), dx.as<float>() + (c.B - 1) * P * c.C, alone.bytes), "group_norm_grad: alone", target);
  }
}

void rows(const char* target) {
  for (int64_t C : {1, 3, 16, 33, 64, 1000}) {
    Rng rng(static_cast<uint64_t>(C));
    Tensor x = Tensor({5, C}).normal(rng), dy = Tensor({5, C}).normal(rng), dx({5, C}), dx3({5, C});
    std::fill(x.as<float>() + 2 * C, x.as<float>() + 3 * C, 0.0f);
    Values norm, soft;
    for (int64_t r = 0; r < 5; r++) {
      const float *v = x.as<float>() + r * C, *g = dy.as<float>() + r * C;
      double squares = 0, dot = 0;
      for (int64_t i = 0; i < C; i++) squares += static_cast<double>(v[i]) * v[i];
      for (int64_t i = 0; i < C; i++) dot += static_cast<double>(v[i]) * g[i];
      for (int64_t i = 0; i < C; i++) {
        norm.push_back(squares > 0 ? (g[i] - v[i] * dot / squares) / std::sqrt(squares) : g[i] / 0.5);
        soft.push_back(1.5 * v[i] * (g[i] - dot));
      }
    }
    // eps below every norm but that of the row of zeros.
    if (C > 1) {
      run(1, cpu::kernels::l2_normalize_grad, op::l2_normalize_grad::Params{0.5f}, {&x, &dy}, {&dx});
      run(3, cpu::kernels::l2_normalize_grad, op::l2_normalize_grad::Params{0.5f}, {&x, &dy}, {&dx3});
      near(dx, norm, 2e-6, std::string("l2_normalize_grad ") + target);
      check(same(dx, dx3), "l2_normalize_grad: same bits", target);
    }
    run(1, cpu::kernels::softmax_grad, op::softmax_grad::Params{1.5f}, {&x, &dy}, {&dx});
    run(3, cpu::kernels::softmax_grad, op::softmax_grad::Params{1.5f}, {&x, &dy}, {&dx3});
    near(dx, soft, 2e-6, std::string("softmax_grad ") + target);
    check(same(dx, dx3), "softmax_grad: same bits", target);
  }
}

}  // namespace

int main() {
  eachTarget([](const char* target) {
    crossEntropy(target);
    layerNormGrad(target);
    groupNormGrad(target);
    rows(target);
  });
  return finish();
}

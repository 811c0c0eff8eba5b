#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;

namespace {

void layerNorm(const char* target) {
  struct Case {
    int64_t B, l, C, Bm, G;
    op::layer_norm::Params p;
    double offset;
  };
  const Case cases[] = {{2, 5, 128, 2, 6, {1e-6f, 2, 4}, 0}, {3, 4, 67, 0, 0, {1e-6f, 0, 1}, 0}, {2, 3, 1024, 1, 2, {1e-6f, 0, 1}, 0},
                        {2, 3, 5, 2, 3, {1e-5f, 2, 1}, 0},   {1, 2, 1, 1, 2, {1e-6f, 0, 1}, 0},  {2, 30, 192, 1, 2, {1e-6f, 1, 0}, 500}};
  for (const Case& c : cases) {
    Rng rng(static_cast<uint64_t>(c.C));
    Tensor x = Tensor({c.B, c.l, c.C}).fill([&](int64_t) { return rng.normal() + c.offset; });
    Tensor mod;
    if (c.Bm) mod = Tensor({c.Bm, c.G, c.C}).normal(rng);
    std::vector<double> want;
    for (int64_t r = 0; r < c.B * c.l; r++) {
      const float* v = x.as<float>() + r * c.C;
      double mean = 0, var = 0;
      for (int64_t i = 0; i < c.C; i++) mean += v[i] / static_cast<double>(c.C);
      for (int64_t i = 0; i < c.C; i++) var += (v[i] - mean) * (v[i] - mean) / static_cast<double>(c.C);
      for (int64_t i = 0; i < c.C; i++) {
        double y = (v[i] - mean) / std::sqrt(var + c.p.eps);
        if (c.Bm) {
          const float* m = mod.as<float>() + (c.Bm == 1 ? 0 : r / c.l) * c.G * c.C;
          y = y * (1.0 + m[c.p.scaleAt * c.C + i]) + m[c.p.shiftAt * c.C + i];
        }
        want.push_back(y);
      }
    }
    Tensor y({c.B, c.l, c.C}), z({c.B, c.l, c.C});
    check(run(1, cpu::kernels::layer_norm, c.p, {&x, &mod}, {&y}).ok(), "layer_norm status");
    run(3, cpu::kernels::layer_norm, c.p, {&x, &mod}, {&z});
    close(y, want, 1, 2e-6, std::string("layer_norm ") + target);
    check(same(y, z), "layer_norm: same bits for every thread count", target);
  }
  Tensor x({1, 2, 8}), mod({1, 2, 8}), y({1, 2, 8});
  const op::layer_norm::Params bad = {1e-6f, 2, 0};
  check(run(1, cpu::kernels::layer_norm, bad, {&x, &mod}, {&y}).code == NS_INVALID, "layer_norm: scaleAt out of range");
}

void groupNorm(const char* target) {
  struct Case {
    int64_t B, h, w, C;
    op::group_norm::Params p;
    double offset, first = 0;  // first: added to the first position
  };
  const Case cases[] = {{2, 5, 7, 64, {32, 1e-6f, 1}, 0},   {1, 16, 16, 160, {32, 1e-6f, 0}, 0}, {3, 3, 3, 96, {32, 1e-6f, 1}, 0},
                        {2, 4, 4, 12, {3, 1e-6f, 0}, 0},    {1, 33, 41, 36, {4, 1e-6f, 1}, 300}, {1, 1, 1, 7, {7, 1e-6f, 0}, 0},
                        {2, 1, 1, 64, {2, 1e-5f, 1}, 0},    {1, 64, 67, 5, {1, 1e-6f, 0}, -20},  {1, 16, 24, 40, {8, 1e-6f, 1}, 5, 1000},
                        {1, 259, 256, 32, {8, 1e-6f, 1}, 1}};  // the last is streamed
  for (const Case& c : cases) {
    Rng rng(static_cast<uint64_t>(c.C + c.w));
    const int64_t P = c.h * c.w, W = c.C / c.p.groups;
    // Every channel with its own offset and spread.
    Tensor x = Tensor({c.B, c.h, c.w, c.C}).fill([&](int64_t i) {
      return c.offset + (i < c.C ? c.first : 0) + 0.3 * static_cast<double>(i % c.C % 5) +
             rng.normal() * (1 + 0.1 * static_cast<double>(i % c.C % 3));
    });
    Tensor gamma = Tensor({c.C}).normal(rng), beta = Tensor({c.C}).normal(rng);
    std::vector<double> want(static_cast<size_t>(x.size()));
    for (int64_t b = 0; b < c.B; b++) {
      for (int64_t g = 0; g < c.p.groups; g++) {
        const auto each = [&](auto f) {
          for (int64_t i = 0; i < P; i++) {
            for (int64_t k = g * W; k < (g + 1) * W; k++) f((b * P + i) * c.C + k, k);
          }
        };
        const double n = static_cast<double>(P * W);
        double mean = 0, var = 0;
        each([&](int64_t i, int64_t) { mean += x.as<float>()[i] / n; });
        each([&](int64_t i, int64_t) { var += (x.as<float>()[i] - mean) * (x.as<float>()[i] - mean) / n; });
        each([&](int64_t i, int64_t k) {
          double y = (x.as<float>()[i] - mean) / std::sqrt(var + c.p.eps) * gamma.as<float>()[k] + beta.as<float>()[k];
          if (c.p.silu) y /= 1 + std::exp(-y);
          want[static_cast<size_t>(i)] = y;
        });
      }
    }
    Tensor y({c.B, c.h, c.w, c.C}), z({c.B, c.h, c.w, c.C});
    check(run(1, cpu::kernels::group_norm, c.p, {&x, &gamma, &beta}, {&y}).ok(), "group_norm status");
    close(y, want, 1, 3e-6, std::string("group_norm ") + target + " C " + std::to_string(c.C));
    for (int threads : {2, 3}) {
      run(threads, cpu::kernels::group_norm, c.p, {&x, &gamma, &beta}, {&z});
      check(same(y, z), "group_norm: same bits for every thread count", target);
    }
    Tensor last({1, c.h, c.w, c.C}), alone({1, c.h, c.w, c.C});
    std::memcpy(last.data(), x.as<float>() + (c.B - 1) * P * c.C, last.bytes);
    run(2, cpu::kernels::group_norm, c.p, {&last, &gamma, &beta}, {&alone});
    check(!std::memcmp(alone.data(), y.as<float>() + (c.B - 1) * P * c.C, alone.bytes), "group_norm: alone equals inside a batch", target);
  }
}

void groupNormEdges() {
  Tensor flat = Tensor({1, 9, 9, 32}).fill([](int64_t) { return 0.1; });
  Tensor one = Tensor({32}).fill([](int64_t) { return 1; }), zero = Tensor({32}).fill([](int64_t) { return 0; }), y({1, 9, 9, 32});
  run(1, cpu::kernels::group_norm, op::group_norm::Params{32, 1e-6f, 0}, {&flat, &one, &zero}, {&y});
  close(y, std::vector<double>(9 * 9 * 32, 0.0), 1, 1e-4, "group_norm: constant input");
  Tensor pair = Tensor({1, 1, 2, 32}).fill([](int64_t i) { return i < 32 ? -1 : 1; }), far = Tensor({32}).fill([](int64_t) { return 200; });
  Tensor ends({1, 1, 2, 32});
  run(1, cpu::kernels::group_norm, op::group_norm::Params{32, 1e-6f, 1}, {&pair, &far, &zero}, {&ends});
  check(ends.as<float>()[0] == 0 && ends.as<float>()[63] > 199, "group_norm: SiLU far from zero");
  check(run(1, cpu::kernels::group_norm, op::group_norm::Params{5, 1e-6f, 0}, {&flat, &one, &zero}, {&y}).code == NS_INVALID,
        "group_norm: groups do not divide");
}

void rows(const char* target) {
  for (int64_t C : {1, 3, 16, 33, 64, 1000}) {
    Rng rng(static_cast<uint64_t>(C));
    Tensor x = Tensor({5, C}).normal(rng);
    for (int64_t i = 0; i < C; i++) x.as<float>()[2 * C + i] = 0;
    std::vector<double> norm, soft;
    const float scale = C == 33 ? -2.0f : 1.5f;
    for (int64_t r = 0; r < 5; r++) {
      const float* v = x.as<float>() + r * C;
      double s = 0, top = -INFINITY, sum = 0;
      for (int64_t i = 0; i < C; i++) {
        s += static_cast<double>(v[i]) * v[i];
        top = std::max(top, static_cast<double>(scale) * v[i]);
      }
      for (int64_t i = 0; i < C; i++) sum += std::exp(static_cast<double>(scale) * v[i] - top);
      for (int64_t i = 0; i < C; i++) {
        norm.push_back(v[i] / std::max(std::sqrt(s), 1e-12));
        soft.push_back(std::exp(static_cast<double>(scale) * v[i] - top) / sum);
      }
    }
    Tensor y({5, C}), z({5, C});
    run(1, cpu::kernels::l2_normalize, op::l2_normalize::Params{1e-12f}, {&x}, {&y});
    run(3, cpu::kernels::l2_normalize, op::l2_normalize::Params{1e-12f}, {&x}, {&z});
    close(y, norm, 0.1, 1e-6, std::string("l2_normalize ") + target);
    check(same(y, z), "l2_normalize: same bits", target);
    run(1, cpu::kernels::softmax, op::softmax::Params{scale}, {&x}, {&y});
    run(3, cpu::kernels::softmax, op::softmax::Params{scale}, {&x}, {&z});
    close(y, soft, 1e-3, 2e-6, std::string("softmax ") + target);
    check(same(y, z), "softmax: same bits", target);
  }
  Tensor x = Tensor({4, 21}).fill([](int64_t i) { return i % 21 == 20 ? 3.0 : i < 21 ? -INFINITY : i < 42 && i % 2 ? NAN : -3e38; });
  for (int64_t i = 0; i < 21; i++) x.as<float>()[63 + i] = -INFINITY;
  Tensor y({4, 21});
  run(1, cpu::kernels::softmax, op::softmax::Params{1}, {&x}, {&y});
  const float* p = y.as<float>();
  check(p[20] == 1 && p[0] == 0 && std::isnan(p[21]) && p[62] == 1 && p[42] == 0 && std::isnan(p[63]), "softmax: infinities and NaN",
        target);
}

}  // namespace

int main() {
  eachTarget([](const char* target) {
    layerNorm(target);
    groupNorm(target);
    groupNormEdges();
    rows(target);
  });
  return finish();
}

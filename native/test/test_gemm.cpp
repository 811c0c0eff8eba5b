// linear_pack, linear, matmul against plain double loops; bit equality over rows, threads and tiling; every SIMD target.
#include <memory>

#include "native/cpu/cast.h"
#include "native/cpu/gemm.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
using cpu::ceilDiv;

namespace {

struct LinearCase {
  int64_t b, l, k, n;
  DType dtype = DType::f32;
  bool bias = false, gate = false, residual = false;
  int64_t gateRows = 1;
  op::linear::Act act = op::linear::Act::none;
};

std::string text(const LinearCase& c) {
  char s[120];
  snprintf(s, sizeof(s), "b %d l %d k %d n %d %s act %d%s%s%s", int(c.b), int(c.l), int(c.k), int(c.n), dtypeName(c.dtype), int(c.act),
           c.bias ? " bias" : "", c.gate ? " gate" : "", c.residual ? " residual" : "");
  return s;
}

Tensor pack(Tensor& w, DType dtype) {
  Tensor packed({ceilDiv(w.t.dims[0], 16), w.t.dims[1], 16}, dtype);
  const op::linear_pack::Params p{dtype};
  check(run(2, cpu::kernels::linear_pack, p, {&w}, {&packed}).ok(), "linear_pack");
  return packed;
}

// The weight as the kernel sees it after narrowing.
std::vector<float> narrowed(Tensor& w, DType dtype) {
  std::vector<float> wide(static_cast<size_t>(w.size()));
  std::vector<uint16_t> half(wide.size());
  if (dtype == DType::f32) {
    std::memcpy(wide.data(), w.data(), wide.size() * 4);
  } else {
    cpu::castRow(DType::f32, dtype, w.data(), half.data(), w.size());
    cpu::castRow(dtype, DType::f32, half.data(), wide.data(), w.size());
  }
  return wide;
}

double activate(op::linear::Act act, double v) {
  if (act == op::linear::Act::silu) return v / (1 + std::exp(-v));
  if (act == op::linear::Act::gelu) return 0.5 * v * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v)));
  return v;
}

constexpr int kGateRows = 3, kGateAt = 1;

struct LinearData {
  Tensor x, w, bias, gate, residual, packed;
};

LinearData makeLinear(const LinearCase& c, Rng& rng) {
  LinearData d;
  d.x = Tensor({c.b, c.l, c.k});
  d.w = Tensor({c.n, c.k});
  d.x.normal(rng);
  d.w.normal(rng, 1 / std::sqrt(double(c.k)));
  if (c.bias) (d.bias = Tensor({c.n})).normal(rng);
  if (c.gate) (d.gate = Tensor({c.gateRows, kGateRows, c.n})).normal(rng);
  if (c.residual) (d.residual = Tensor({c.b, c.l, c.n})).normal(rng);
  d.packed = pack(d.w, c.dtype);
  return d;
}

std::vector<double> wantLinear(const LinearCase& c, LinearData& d) {
  std::vector<double> want(static_cast<size_t>(c.b * c.l * c.n));
  const std::vector<float> w = narrowed(d.w, c.dtype);
  for (int64_t m = 0; m < c.b * c.l; m++) {
    for (int64_t j = 0; j < c.n; j++) {
      double s = 0;
      for (int64_t k = 0; k < c.k; k++) s += double(d.x.as()[m * c.k + k]) * w[static_cast<size_t>(j * c.k + k)];
      if (c.bias) s += d.bias.as()[j];
      s = activate(c.act, s);
      if (c.gate) s *= d.gate.as()[((c.gateRows == 1 ? 0 : m / c.l) * kGateRows + kGateAt) * c.n + j];
      if (c.residual) s += d.residual.as()[m * c.n + j];
      want[static_cast<size_t>(m * c.n + j)] = s;
    }
  }
  return want;
}

Tensor runLinear(const LinearCase& c, LinearData& d, int threads) {
  Tensor y({c.b, c.l, c.n});
  const op::linear::Params p{int32_t(c.n), c.act, kGateAt};
  const Status s = run(threads, cpu::kernels::linear, p, {&d.x, &d.packed, &d.bias, &d.gate, &d.residual}, {&y});
  check(s.ok(), "linear status", s.message);
  return y;
}

void testLinear(const LinearCase& c, Rng& rng) {
  LinearData d = makeLinear(c, rng);
  const std::vector<double> want = wantLinear(c, d);
  Tensor y = runLinear(c, d, 1);
  close(y, want, 1, 3e-6, "linear " + text(c));
  for (int threads : {2, 3}) {
    Tensor other = runLinear(c, d, threads);
    check(same(y, other), "linear bit-equal over threads", text(c));
  }
}

void linearShapes(Rng& rng) {
  using op::linear::Act;
  for (int64_t m = 1; m <= 20; m++) testLinear({1, m, 67, 1 + m * 5 % 100}, rng);
  for (int64_t n : {1, 2, 7, 8, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 80, 100}) testLinear({1, 5, 40, n}, rng);
  for (int64_t k : {1, 2, 3, 4, 5, 7, 64, 1023, 1024, 1025, 2100}) {
    for (int64_t m : {1, 2, 3, 7, 13, 48}) testLinear({1, m, k, 33}, rng);
  }
  for (int64_t m : {48, 97, 128, 129, 300}) testLinear({1, m, 130, 70}, rng);
  testLinear({1, 300, 1030, 40}, rng);
  for (DType t : {DType::f16, DType::bf16}) {
    for (int64_t m : {1, 2, 5, 6, 9, 14, 17, 97, 150}) testLinear({1, m, 77, 100, t, true}, rng);
    testLinear({1, 3, 1029, 37, t}, rng);
  }
  for (Act act : {Act::none, Act::gelu, Act::silu}) {
    testLinear({2, 9, 96, 40, DType::f32, true, true, true, 2, act}, rng);
    testLinear({3, 50, 65, 83, DType::f32, true, true, true, 1, act}, rng);
    testLinear({2, 1, 1100, 19, DType::f16, true, true, true, 2, act}, rng);
    testLinear({2, 70, 1100, 21, DType::f32, false, true, false, 2, act}, rng);
  }
}

// A row alone, in a small batch and inside many rows has the same bits.
void rowsAlone(int64_t rows, int64_t k, int64_t n, DType dtype, Rng& rng) {
  LinearCase c{1, rows, k, n, dtype, true, false, true};
  c.act = op::linear::Act::gelu;
  LinearData d = makeLinear(c, rng);
  Tensor all = runLinear(c, d, 2);
  for (int64_t count : {1, 2, 3, 5, 6, 8, 18, 50, 129}) {
    for (int64_t first : {int64_t{0}, int64_t{17}, rows / 2, rows - count}) {
      LinearCase part = c;
      part.l = count;
      LinearData e;
      e.packed = d.packed;
      e.bias = d.bias;
      e.x = Tensor({1, count, k});
      e.residual = Tensor({1, count, n});
      std::memcpy(e.x.data(), d.x.as() + first * k, e.x.bytes);
      std::memcpy(e.residual.data(), d.residual.as() + first * n, e.residual.bytes);
      Tensor y = runLinear(part, e, count % 2 ? 1 : 3);
      check(std::memcmp(y.data(), all.as() + first * n, y.bytes) == 0, "linear bit-equal over rows", text(part));
    }
  }
}

void packing(Rng& rng) {
  for (DType from : {DType::f32, DType::f16, DType::bf16}) {
    for (int64_t n : {1, 16, 33}) {
      for (int64_t k : {1, 19, 300}) {
        Tensor wide({n, k});
        wide.normal(rng);
        Tensor w({n, k}, from);
        cpu::castRow(DType::f32, from, wide.data(), w.data(), w.size());
        Tensor packed = pack(w, DType::f32);
        std::vector<float> back(static_cast<size_t>(n * k));
        cpu::castRow(from, DType::f32, w.data(), back.data(), n * k);
        bool ok = true;
        for (int64_t p = 0; p < packed.t.dims[0]; p++) {
          for (int64_t i = 0; i < k * 16; i++) {
            const int64_t o = p * 16 + i % 16;
            const float want = o < n ? back[static_cast<size_t>(o * k + i / 16)] : 0.0f;
            ok = ok && packed.as()[p * k * 16 + i] == want;
          }
        }
        check(ok, "linear_pack layout");
      }
    }
  }
}

void testMatmul(int64_t b, int64_t m, int64_t k, int64_t n, bool trans, float alpha, Rng& rng) {
  Tensor x({b, m, k}), w(trans ? std::vector<int64_t>{b, n, k} : std::vector<int64_t>{b, k, n});
  x.normal(rng);
  w.normal(rng, 1 / std::sqrt(double(k)));
  std::vector<double> want(static_cast<size_t>(b * m * n));
  for (int64_t i = 0; i < b * m * n; i++) {
    const int64_t j = i % n, r = i / n % m, s = i / (n * m);
    double sum = 0;
    for (int64_t t = 0; t < k; t++) {
      sum += double(x.as()[(s * m + r) * k + t]) * w.as()[trans ? (s * n + j) * k + t : (s * k + t) * n + j];
    }
    want[static_cast<size_t>(i)] = alpha * sum;
  }
  std::unique_ptr<Tensor> before;
  for (int threads : {1, 2, 3, 8}) {
    auto y = std::make_unique<Tensor>(std::vector<int64_t>{b, m, n});
    const op::matmul::Params p{trans, alpha};
    check(run(threads, cpu::kernels::matmul, p, {&x, &w}, {y.get()}).ok(), "matmul status");
    char what[100];
    snprintf(what, sizeof(what), "matmul b %d m %d k %d n %d trans %d", int(b), int(m), int(k), int(n), trans);
    close(*y, want, 1, 3e-6, what);
    if (before) check(same(*before, *y), "matmul bit-equal over threads", what);
    before = std::move(y);
  }
}

void badCalls() {
  Tensor x({1, 2, 8}), w({1, 9, 16}), y({1, 2, 16}), none;
  check(!run(1, cpu::kernels::linear, op::linear::Params{16, op::linear::Act::none, 0}, {&x, &w, &none, &none, &none}, {&y}).ok(),
        "linear refuses another K");
  Tensor a({2, 3, 4}), b({2, 5, 4}), c({2, 3, 5});
  check(!run(1, cpu::kernels::matmul, op::matmul::Params{0, 1}, {&a, &b}, {&c}).ok(), "matmul refuses another K");
}

}  // namespace

int main() {
  badCalls();
  eachTarget([](const char* target) {
    printf("target %s, gemm %s\n", target, cpu::gemmTarget());
    check(std::string(target) == cpu::gemmTarget(), "the target under test is the one that runs");
    Rng rng(20261122);
    packing(rng);
    linearShapes(rng);
    for (DType t : {DType::f32, DType::f16, DType::bf16}) rowsAlone(300, 200, 90, t, rng);
    rowsAlone(300, 1500, 37, DType::f32, rng);
    rowsAlone(2100, 40, 33, DType::f32, rng);
    for (bool trans : {false, true}) {
      testMatmul(2, 17, 33, 21, trans, 1, rng);
      testMatmul(3, 5, 64, 70, trans, 0.125f, rng);
      testMatmul(1, 300, 40, 48, trans, 1, rng);
      testMatmul(20, 7, 1, 3, trans, 1, rng);
      testMatmul(18, 1, 130, 1, trans, -2, rng);
      testMatmul(1, 1, 1025, 100, trans, 1, rng);
    }
  });
  return finish();
}

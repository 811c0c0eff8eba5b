// conv_pack and conv2d (direct, F(2x2,3x3), F(4x4,3x3)) against plain double loops; bit equality over threads and batch; every SIMD target.
#include "native/cpu/cast.h"
#include "native/cpu/gemm.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
using cpu::ceilDiv;
using Algo = op::conv2d::Algo;

namespace {

struct ConvCase {
  int64_t b, h, w, i, o;
  Algo algo = Algo::direct;
  bool bias = true, residual = false;
  int32_t kernel = 3, stride = 1, before = 1, after = 1, upsample = 1;
  float alpha = 1, beta = 1;
  DType dtype = DType::f32;
  int64_t outH() const { return (h * upsample + before + after - kernel) / stride + 1; }
  int64_t outW() const { return (w * upsample + before + after - kernel) / stride + 1; }
};

std::string text(const ConvCase& c) {
  char s[160];
  snprintf(s, sizeof(s), "b %d h %d w %d i %d o %d algo %d k %d s %d up %d %s", int(c.b), int(c.h), int(c.w), int(c.i), int(c.o),
           int(c.algo), c.kernel, c.stride, c.upsample, dtypeName(c.dtype));
  return s;
}

struct ConvData {
  Tensor x, w, bias, residual, packed;
};

Tensor packConv(Tensor& w, Algo algo, DType dtype) {
  const int64_t panels = ceilDiv(w.t.dims[0], 16), i = w.t.dims[1], taps = w.t.dims[2] * w.t.dims[3];
  Tensor packed =
      algo == Algo::direct ? Tensor({panels, taps * i, 16}, dtype) : Tensor({algo == Algo::winograd2 ? 16 : 36, panels, i, 16}, dtype);
  const op::conv_pack::Params p{static_cast<op::conv_pack::Algo>(algo), dtype};
  check(run(2, cpu::kernels::conv_pack, p, {&w}, {&packed}).ok(), "conv_pack");
  return packed;
}

ConvData makeConv(const ConvCase& c, Rng& rng) {
  ConvData d;
  d.x = Tensor({c.b, c.h, c.w, c.i});
  d.w = Tensor({c.o, c.i, c.kernel, c.kernel});
  d.x.normal(rng);
  d.w.normal(rng, 1 / std::sqrt(double(c.i * c.kernel * c.kernel)));
  if (c.dtype == DType::f16) d.w.fill([&](int64_t n) { return std::round(d.w.as()[n] * 256) / 256; });  // exact in f16
  if (c.bias) (d.bias = Tensor({c.o})).normal(rng);
  if (c.residual) (d.residual = Tensor({c.b, c.outH(), c.outW(), c.o})).normal(rng);
  d.packed = packConv(d.w, c.algo, c.dtype);
  return d;
}

std::vector<double> wantConv(const ConvCase& c, ConvData& d) {
  std::vector<double> want(static_cast<size_t>(c.b * c.outH() * c.outW() * c.o));
  size_t at = 0;
  for (int64_t b = 0; b < c.b; b++) {
    for (int64_t y = 0; y < c.outH(); y++) {
      for (int64_t x = 0; x < c.outW(); x++) {
        for (int64_t o = 0; o < c.o; o++, at++) {
          double s = c.bias ? d.bias.as()[o] : 0;
          for (int64_t ky = 0; ky < c.kernel; ky++) {
            for (int64_t kx = 0; kx < c.kernel; kx++) {
              const int64_t iy = y * c.stride + ky - c.before, ix = x * c.stride + kx - c.before;
              if (iy < 0 || ix < 0 || iy >= c.h * c.upsample || ix >= c.w * c.upsample) continue;
              const float* from = d.x.as() + ((b * c.h + iy / c.upsample) * c.w + ix / c.upsample) * c.i;
              const float* kernel = d.w.as() + (o * c.i * c.kernel + ky) * c.kernel + kx;
              for (int64_t i = 0; i < c.i; i++) s += double(from[i]) * kernel[i * c.kernel * c.kernel];
            }
          }
          want[at] = c.alpha * s + (c.residual ? double(c.beta) * d.residual.as()[at] : 0);
        }
      }
    }
  }
  return want;
}

Tensor runConv(const ConvCase& c, ConvData& d, int threads) {
  Tensor y({c.b, c.outH(), c.outW(), c.o});
  const op::conv2d::Params p{int32_t(c.o), c.kernel, c.stride, c.before, c.after, c.upsample, c.algo, c.alpha, c.beta};
  const Status s = run(threads, cpu::kernels::conv2d, p, {&d.x, &d.packed, &d.bias, &d.residual}, {&y});
  check(s.ok(), "conv2d status", s.message);
  return y;
}

// The second image alone gives the bits it has inside the batch.
void imageAlone(const ConvCase& c, ConvData& d, Tensor& all) {
  ConvCase one = c;
  one.b = 1;
  ConvData e;
  e.packed = d.packed;
  e.bias = d.bias;
  e.x = Tensor({1, c.h, c.w, c.i});
  std::memcpy(e.x.data(), d.x.as() + e.x.size(), e.x.bytes);
  if (c.residual) {
    e.residual = Tensor({1, c.outH(), c.outW(), c.o});
    std::memcpy(e.residual.data(), d.residual.as() + e.residual.size(), e.residual.bytes);
  }
  Tensor y = runConv(one, e, 2);
  check(std::memcmp(y.data(), all.as() + y.size(), y.bytes) == 0, "conv2d bit-equal over batch", text(c));
}

void testConv(const ConvCase& c, Rng& rng) {
  ConvData d = makeConv(c, rng);
  const std::vector<double> want = wantConv(c, d);
  Tensor y = runConv(c, d, 1);
  const double tol = c.algo == Algo::winograd4                         ? (c.dtype == DType::f32 ? 3e-5 : 3e-2)
                     : c.dtype == DType::f32 || c.algo == Algo::direct ? 4e-6
                                                                       : 3e-3;
  close(y, want, 1, tol, "conv2d " + text(c));
  for (int threads : {2, 3}) {
    Tensor other = runConv(c, d, threads);
    check(same(y, other), "conv2d bit-equal over threads", text(c));
  }
  if (c.b >= 2) imageAlone(c, d, y);
}

ConvCase with(ConvCase c, const std::function<void(ConvCase&)>& change) {
  change(c);
  return c;
}

void shapes(Rng& rng) {
  for (Algo algo : {Algo::direct, Algo::winograd2, Algo::winograd4}) {
    testConv({2, 9, 7, 5, 20, algo}, rng);
    testConv({1, 1, 1, 16, 16, algo}, rng);
    testConv({1, 1, 9, 3, 3, algo}, rng);
    testConv({1, 2, 3, 1, 1, algo}, rng);
    testConv({1, 16, 16, 32, 48, algo, true, true}, rng);
    testConv({2, 13, 10, 24, 33, algo, false, true}, rng);
    testConv({3, 6, 5, 37, 17, algo, false}, rng);
    testConv({1, 4, 4, 130, 18, algo}, rng);
    testConv({2, 40, 33, 6, 19, algo, true, true}, rng);  // more tiles than one block
    testConv({1, 70, 90, 8, 16, algo}, rng);
    testConv({1, 64, 64, 12, 80, algo, true, true}, rng);  // more panels than one group
    testConv(with({2, 6, 5, 12, 18, algo, true, true}, [](ConvCase& c) { c.alpha = 0.5f, c.beta = 0.25f; }), rng);
    testConv(with({2, 5, 6, 16, 24, algo}, [](ConvCase& c) { c.upsample = 2; }), rng);
    testConv(with({1, 7, 3, 9, 5, algo}, [](ConvCase& c) { c.upsample = 3; }), rng);
    testConv(with({1, 8, 9, 20, 24, algo}, [](ConvCase& c) { c.before = c.after = 0; }), rng);
    testConv(with({1, 8, 9, 20, 24, algo}, [](ConvCase& c) { c.before = 0, c.after = 2; }), rng);
    testConv(with({2, 6, 6, 16, 16, algo}, [](ConvCase& c) { c.dtype = DType::f16; }), rng);
  }
  testConv({1, 3, 4, 1030, 5, Algo::winograd2}, rng);                // two K blocks
  testConv({1, 259, 258, 2, 32, Algo::winograd4, true, true}, rng);  // so much that it is streamed
  testConv({1, 20, 30, 150, 3, Algo::direct}, rng);
  testConv({2, 9, 9, 160, 3, Algo::direct, true, true}, rng);
  for (int64_t o = 1; o <= 5; o++) {
    testConv(with({2, 13, 11, 15 + 9 * o, o, Algo::direct, o != 2, o != 3}, [](ConvCase& c) { c.alpha = 0.75f, c.beta = -2; }), rng);
  }
  testConv(with({2, 8, 8, 40, 3}, [](ConvCase& c) { c.upsample = 2, c.dtype = DType::f16; }), rng);
  testConv(with({1, 30, 37, 20, 2}, [](ConvCase& c) { c.stride = 2, c.before = 0; }), rng);
  for (int64_t n : {4, 5, 9, 10}) {
    testConv(with({2, n, n - 1, 12, 18}, [](ConvCase& c) { c.stride = 2, c.before = 0; }), rng);
  }
  testConv(with({2, 30, 21, 40, 33, Algo::direct, true, true}, [](ConvCase& c) { c.kernel = 1, c.before = c.after = 0; }), rng);
  testConv(with({1, 5, 5, 8, 33}, [](ConvCase& c) { c.kernel = 1, c.before = c.after = 0, c.upsample = 2; }), rng);
  testConv(with({1, 7, 6, 8, 9}, [](ConvCase& c) { c.kernel = 1, c.before = c.after = 0, c.stride = 2; }), rng);
  testConv(with({1, 11, 9, 7, 9}, [](ConvCase& c) { c.kernel = 5, c.before = c.after = 2, c.stride = 2; }), rng);
  testConv(with({1, 8, 8, 3, 40}, [](ConvCase& c) { c.kernel = 4, c.before = c.after = 0, c.stride = 4; }), rng);
}

void directLayout(Rng& rng) {
  Tensor w({20, 7, 3, 3});
  w.normal(rng);
  Tensor packed = packConv(w, Algo::direct, DType::f32);
  bool ok = true;
  for (int64_t n = 0; n < packed.size(); n++) {
    const int64_t j = n % 16, k = n / 16 % 63, o = n / (16 * 63) * 16 + j, tap = k / 7, i = k % 7;
    ok = ok && packed.as()[n] == (o < 20 ? w.as()[(o * 7 + i) * 9 + tap] : 0.0f);
  }
  check(ok, "conv_pack direct layout");
}

void winogradLayout(Rng& rng) {
  const double g4[6][3] = {
      {.25, 0, 0}, {-1. / 6, -1. / 6, -1. / 6}, {-1. / 6, 1. / 6, -1. / 6}, {1. / 24, 1. / 12, 1. / 6}, {1. / 24, -1. / 12, 1. / 6},
      {0, 0, 1}};
  Tensor w({17, 6, 3, 3});
  w.normal(rng);
  Tensor packed = packConv(w, Algo::winograd4, DType::f32);
  std::vector<double> want(static_cast<size_t>(packed.size()));
  for (size_t n = 0; n < want.size(); n++) {
    const size_t i = n / 16 % 6, o = n / (16 * 6) % 2 * 16 + n % 16, q = n / (16 * 6 * 2);
    for (size_t y = 0; o < 17 && y < 3; y++) {
      for (size_t x = 0; x < 3; x++) want[n] += g4[q / 6][y] * g4[q % 6][x] * w.as()[(o * 6 + i) * 9 + y * 3 + x];
    }
  }
  close(packed, want, 1, 2e-7, "conv_pack winograd4 layout");
}

void badCalls() {
  Tensor x({1, 4, 4, 8}), w({1, 70, 16}), y({1, 4, 4, 16}), none;
  const op::conv2d::Params p{16, 3, 1, 1, 1, 1, Algo::direct, 1, 1};
  check(!run(1, cpu::kernels::conv2d, p, {&x, &w, &none, &none}, {&y}).ok(), "conv2d refuses a weight of another shape");
  Tensor v({16, 1, 8, 16}), z({1, 2, 2, 16});
  const op::conv2d::Params q{16, 3, 2, 1, 1, 1, Algo::winograd2, 1, 1};
  check(run(1, cpu::kernels::conv2d, q, {&x, &v, &none, &none}, {&z}).code == NS_UNSUPPORTED, "winograd refuses stride 2");
}

}  // namespace

int main() {
  badCalls();
  eachTarget([](const char* target) {
    printf("target %s\n", target);
    Rng rng(20261123);
    directLayout(rng);
    winogradLayout(rng);
    shapes(rng);
  });
  return finish();
}

// linear_grad_w, conv2d_grad_w, dilate and the transposed packs against plain double loops; the same bits for 1, 2 and 3 threads and at any
// place in a vector; every SIMD target.
#include "native/cpu/gemm.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
using cpu::ceilDiv;

namespace {

struct Gradients {
  Tensor dw, dbias;
};

bool sameGradients(Gradients& a, Gradients& b) { return same(a.dw, b.dw) && same(a.dbias, b.dbias); }

// Sums of products of normal numbers are as large as the root of their number; errors are relative to that.
constexpr double kTolerance = 2e-6;
double size(int64_t terms) { return std::sqrt(double(terms)); }

struct LinearCase {
  int64_t m, k, n;
  bool bias;
  float alpha;
};

std::string text(const LinearCase& c) {
  char s[80];
  snprintf(s, sizeof(s), "m %d k %d n %d bias %d", int(c.m), int(c.k), int(c.n), c.bias);
  return s;
}

Gradients runLinear(const LinearCase& c, Tensor& x, Tensor& dy, const Gradients& before, int threads) {
  Gradients g = before;
  const op::linear_grad_w::Params p{c.alpha};
  const Status s = run(threads, cpu::kernels::linear_grad_w, p, {&x, &dy, &g.dw, &g.dbias}, {});
  check(s.ok(), "linear_grad_w status", s.message);
  return g;
}

void testLinear(const LinearCase& c, Rng& rng) {
  Tensor x({1, c.m, c.k}), dy({1, c.m, c.n});
  x.normal(rng);
  dy.normal(rng);
  Gradients before;
  (before.dw = Tensor({c.n, c.k})).normal(rng);
  if (c.bias) (before.dbias = Tensor({c.n})).normal(rng);
  std::vector<double> dw(static_cast<size_t>(c.n * c.k)), dbias(static_cast<size_t>(c.n));
  for (int64_t m = 0; m < c.m; m++) {
    for (int64_t j = 0; j < c.n; j++) {
      const double g = dy.as()[m * c.n + j];
      dbias[static_cast<size_t>(j)] += g;
      for (int64_t k = 0; k < c.k; k++) dw[static_cast<size_t>(j * c.k + k)] += g * x.as()[m * c.k + k];
    }
  }
  for (int64_t i = 0; i < c.n * c.k; i++) dw[static_cast<size_t>(i)] = before.dw.as()[i] + c.alpha * dw[static_cast<size_t>(i)];
  Gradients one = runLinear(c, x, dy, before, 1);
  close(one.dw, dw, size(c.m), kTolerance, "linear_grad_w dw " + text(c));
  if (c.bias) {
    for (int64_t j = 0; j < c.n; j++) dbias[static_cast<size_t>(j)] = before.dbias.as()[j] + c.alpha * dbias[static_cast<size_t>(j)];
    close(one.dbias, dbias, size(c.m), kTolerance, "linear_grad_w dbias " + text(c));
  }
  for (int threads : {2, 3}) {
    Gradients other = runLinear(c, x, dy, before, threads);
    check(sameGradients(one, other), "linear_grad_w bit-equal over threads", text(c));
  }
}

void linearShapes(Rng& rng) {
  for (int64_t n : {1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 16, 17, 29, 33}) testLinear({19, 35, n, true, 1}, rng);
  for (int64_t k : {1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 300}) testLinear({21, k, 18, false, 0.5f}, rng);
  for (int64_t m : {1, 2, 3, 4, 5, 255, 256, 257, 700}) testLinear({m, 40, 34, true, 1}, rng);
  testLinear({5000, 20, 5, true, -1}, rng);   // several chunks
  testLinear({3000, 33, 40, true, 1}, rng);   // several chunks
  testLinear({300, 530, 250, true, 1}, rng);  // several groups of columns and rows
  testLinear({9, 1100, 61, true, 1}, rng);
}

// Column j of dw does not depend on where it lies: the rows of x and dy reversed give dw reversed.
void places(Rng& rng) {
  const LinearCase c{90, 45, 37, true, 1};
  Tensor x({1, c.m, c.k}), dy({1, c.m, c.n}), rx = x, rdy = dy;
  x.normal(rng);
  dy.normal(rng);
  for (int64_t i = 0; i < x.size(); i++) rx.as()[i] = x.as()[i / c.k * c.k + c.k - 1 - i % c.k];
  for (int64_t i = 0; i < dy.size(); i++) rdy.as()[i] = dy.as()[i / c.n * c.n + c.n - 1 - i % c.n];
  Gradients zero;
  (zero.dw = Tensor({c.n, c.k})).fill([](int64_t) { return 0.0; });
  (zero.dbias = Tensor({c.n})).fill([](int64_t) { return 0.0; });
  Gradients a = runLinear(c, x, dy, zero, 2), b = runLinear(c, rx, rdy, zero, 2);
  bool ok = true;
  for (int64_t i = 0; i < c.n * c.k; i++) ok = ok && a.dw.as()[i] == b.dw.as()[c.n * c.k - 1 - i];
  for (int64_t j = 0; j < c.n; j++) ok = ok && a.dbias.as()[j] == b.dbias.as()[c.n - 1 - j];
  check(ok, "linear_grad_w bit-equal at every place");
}

struct ConvCase {
  int64_t b, h, w, in, out;
  int32_t kernel = 3, stride = 1, before = 1, after = 1, upsample = 1;
  bool bias = true;
  int64_t outOf(int64_t n) const { return (n * upsample + before + after - kernel) / stride + 1; }
};

std::string text(const ConvCase& c) {
  char s[120];
  snprintf(s, sizeof(s), "b %d %dx%d in %d out %d kernel %d stride %d pad %d,%d up %d", int(c.b), int(c.h), int(c.w), int(c.in), int(c.out),
           c.kernel, c.stride, c.before, c.after, c.upsample);
  return s;
}

Gradients runConv(const ConvCase& c, Tensor& x, Tensor& dy, const Gradients& before, int threads) {
  Gradients g = before;
  const op::conv2d_grad_w::Params p{c.stride, c.before, c.after, c.upsample, 0.5f};
  const Status s = run(threads, cpu::kernels::conv2d_grad_w, p, {&x, &dy, &g.dw, &g.dbias}, {});
  check(s.ok(), "conv2d_grad_w status", s.message);
  return g;
}

void addPixel(const ConvCase& c, const float* image, const float* g, int64_t oy, int64_t ox, std::vector<double>& dw) {
  for (int64_t ky = 0; ky < c.kernel; ky++) {
    for (int64_t kx = 0; kx < c.kernel; kx++) {
      const int64_t y = oy * c.stride + ky - c.before, z = ox * c.stride + kx - c.before;
      if (y < 0 || z < 0 || y >= c.h * c.upsample || z >= c.w * c.upsample) continue;
      const float* pixel = image + (y / c.upsample * c.w + z / c.upsample) * c.in;
      for (int64_t o = 0; o < c.out; o++) {
        for (int64_t i = 0; i < c.in; i++)
          dw[static_cast<size_t>(((o * c.in + i) * c.kernel + ky) * c.kernel + kx)] += double(g[o]) * pixel[i];
      }
    }
  }
}

void testConv(const ConvCase& c, Rng& rng) {
  const int64_t oh = c.outOf(c.h), ow = c.outOf(c.w);
  Tensor x({c.b, c.h, c.w, c.in}), dy({c.b, oh, ow, c.out});
  x.normal(rng);
  dy.normal(rng);
  Gradients before;
  (before.dw = Tensor({c.out, c.in, c.kernel, c.kernel})).normal(rng);
  if (c.bias) (before.dbias = Tensor({c.out})).normal(rng);
  std::vector<double> dw(static_cast<size_t>(before.dw.size())), dbias(static_cast<size_t>(c.out));
  for (int64_t m = 0; m < c.b * oh * ow; m++) {
    const float* g = dy.as() + m * c.out;
    for (int64_t o = 0; o < c.out; o++) dbias[static_cast<size_t>(o)] += g[o];
    addPixel(c, x.as() + m / (oh * ow) * c.h * c.w * c.in, g, m / ow % oh, m % ow, dw);
  }
  for (size_t i = 0; i < dw.size(); i++) dw[i] = before.dw.as()[i] + 0.5 * dw[i];
  Gradients one = runConv(c, x, dy, before, 1);
  close(one.dw, dw, size(c.b * oh * ow), kTolerance, "conv2d_grad_w dw " + text(c));
  if (c.bias) {
    for (size_t o = 0; o < dbias.size(); o++) dbias[o] = before.dbias.as()[o] + 0.5 * dbias[o];
    close(one.dbias, dbias, size(c.b * oh * ow), kTolerance, "conv2d_grad_w dbias " + text(c));
  }
  for (int threads : {2, 3}) {
    Gradients other = runConv(c, x, dy, before, threads);
    check(sameGradients(one, other), "conv2d_grad_w bit-equal over threads", text(c));
  }
}

void convShapes(Rng& rng) {
  for (int64_t in : {1, 3, 12, 13, 16, 17, 32, 50}) testConv({2, 6, 7, in, 18}, rng);
  for (int64_t out : {1, 2, 3, 14, 31, 33, 70}) testConv({1, 9, 5, 20, out}, rng);
  for (int64_t side : {1, 2, 3, 4, 19, 40}) testConv({3, side, side + 1, 17, 15}, rng);
  for (int64_t in : {4, 20}) {
    testConv({2, 10, 8, in, 18, 3, 2, 0, 1, 1}, rng);
    testConv({2, 9, 11, in, 5, 3, 3, 2, 1, 1}, rng);
    testConv({2, 5, 6, in, 7, 3, 1, 1, 1, 2}, rng);
    testConv({1, 5, 6, in, 7, 3, 2, 1, 1, 3}, rng);
    testConv({2, 8, 9, in, 9, 4, 2, 1, 1, 1}, rng);
    testConv({2, 6, 5, in, 33, 1, 1, 0, 0, 1}, rng);
    testConv({2, 7, 5, in, 6, 1, 2, 0, 0, 1}, rng);
    testConv({1, 3, 3, in, 6, 1, 1, 0, 0, 2}, rng);
    testConv({1, 2, 3, in, 6, 5, 1, 2, 2, 1}, rng);
    testConv({1, 4, 4, in, 6, 3, 1, 3, 3, 1}, rng);
    testConv({5, 3, 4, in, 40, 1, 4, 0, 0, 1}, rng);
  }
  testConv({16, 16, 16, 17, 8, 3, 1, 1, 1, 1, false}, rng);  // several chunks, blocks of several images
  testConv({1, 3, 1100, 14, 3}, rng);                        // rows longer than a block
  // Winograd: odd sizes, other paddings, several groups, several chunks.
  testConv({2, 9, 13, 20, 18}, rng);
  testConv({1, 12, 16, 33, 40, 3, 1, 0, 2, 1}, rng);
  testConv({1, 7, 9, 20, 18, 3, 1, 2, 2, 2}, rng);
  testConv({1, 2, 64, 16, 16}, rng);
  testConv({1, 12, 12, 100, 190}, rng);
  testConv({16, 16, 16, 17, 20, 3, 1, 1, 1, 1, false}, rng);
}

void dilations() {
  for (int64_t stride : {1, 2, 3}) {
    for (int64_t c : {1, 5, 33}) {
      Tensor x({2, 3, 4, c}), y({2, 2 * stride + 1, 3 * stride + 1, c});
      x.fill([](int64_t i) { return double(i + 1); });
      const op::dilate::Params p{int32_t(stride)};
      check(run(2, cpu::kernels::dilate, p, {&x}, {&y}).ok(), "dilate status");
      bool ok = true;
      for (int64_t i = 0; i < y.size(); i++) {
        const int64_t k = i % c, z = i / c % y.t.dims[2], r = i / (c * y.t.dims[2]) % y.t.dims[1], b = i / (c * y.t.dims[2] * y.t.dims[1]);
        const bool pixel = z % stride == 0 && r % stride == 0;
        ok = ok && y.as()[i] == (pixel ? x.as()[((b * 3 + r / stride) * 4 + z / stride) * c + k] : 0.0f);
      }
      check(ok, "dilate values");
    }
  }
}

// What the transposed packs give is what the plain ones give of the transposed weight.
void transposedPacks(Rng& rng) {
  for (int64_t n : {1, 15, 16, 33}) {
    for (int64_t k : {1, 16, 21, 300}) {
      Tensor w({n, k}), t({k, n}), a({ceilDiv(k, 16), n, 16}), b = a;
      w.normal(rng);
      t.fill([&](int64_t i) { return w.as()[i % n * k + i / n]; });
      check(run(2, cpu::kernels::linear_pack, op::linear_pack::Params{DType::f32, true}, {&w}, {&a}).ok(), "linear_pack status");
      check(run(1, cpu::kernels::linear_pack, op::linear_pack::Params{DType::f32, false}, {&t}, {&b}).ok(), "linear_pack status");
      check(same(a, b), "linear_pack transpose");
    }
  }
  using Algo = op::conv_pack::Algo;
  for (Algo algo : {Algo::direct, Algo::winograd2, Algo::winograd4}) {
    for (int64_t o : {1, 18, 40}) {
      for (int64_t i : {3, 16, 35}) {
        const int64_t points = algo == Algo::winograd2 ? 16 : 36, panels = ceilDiv(i, 16);
        Tensor w({o, i, 3, 3}), t({i, o, 3, 3});
        Tensor a = algo == Algo::direct ? Tensor({panels, 9 * o, 16}) : Tensor({points, panels, o, 16}), b = a;
        w.normal(rng);
        t.fill([&](int64_t at) { return w.as()[(at / 9 % o * i + at / (9 * o)) * 9 + 8 - at % 9]; });
        check(run(2, cpu::kernels::conv_pack, op::conv_pack::Params{algo, DType::f32, true}, {&w}, {&a}).ok(), "conv_pack status");
        check(run(1, cpu::kernels::conv_pack, op::conv_pack::Params{algo, DType::f32, false}, {&t}, {&b}).ok(), "conv_pack status");
        check(same(a, b), "conv_pack transpose");
      }
    }
  }
}

void badCalls() {
  Tensor x({1, 2, 8}), dy({1, 3, 4}), dw({4, 8}), none;
  check(!run(1, cpu::kernels::linear_grad_w, op::linear_grad_w::Params{1}, {&x, &dy, &dw, &none}, {}).ok(),
        "linear_grad_w refuses other rows");
  Tensor cx({1, 4, 4, 8}), cdy({1, 4, 4, 4}), cdw({4, 7, 3, 3});
  check(!run(1, cpu::kernels::conv2d_grad_w, op::conv2d_grad_w::Params{1, 1, 1, 1, 1}, {&cx, &cdy, &cdw, &none}, {}).ok(),
        "conv2d_grad_w refuses other channels");
}

}  // namespace

int main() {
  badCalls();
  dilations();
  Rng once(7);
  transposedPacks(once);
  eachTarget([](const char* target) {
    printf("target %s\n", target);
    Rng rng(20261123);
    linearShapes(rng);
    places(rng);
    convShapes(rng);
  });
  return finish();
}

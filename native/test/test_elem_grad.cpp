// unary_grad, affine_grad, sum_to, broadcast_to, gate_residual and its gradient, embedding_grad, scatter_rows, bincount, interpolate_grad,
// pair_loss and its gradient on every SIMD target.
#include <limits>

#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
namespace k = ns::cpu::kernels;

namespace {
using Dims = std::vector<int64_t>;
const float kInf = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

op::Dims dimsOf(const Dims& d) {
  op::Dims r{static_cast<int32_t>(d.size()), {}};
  for (size_t i = 0; i < d.size(); i++) r.d[i] = static_cast<int32_t>(d[i]);
  return r;
}

double slope(op::unary_grad::Fn fn, double x) {
  using Fn = op::unary_grad::Fn;
  const double s = 1 / (1 + std::exp(-x)), k0 = std::sqrt(2 / M_PI), t = std::tanh(k0 * (x + 0.044715 * x * x * x));
  switch (fn) {
    case Fn::silu: return s * (1 + x * (1 - s));
    case Fn::gelu: return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k0 * (1 + 3 * 0.044715 * x * x);
    case Fn::exp: return std::exp(x);
    case Fn::log: return 1 / x;
    case Fn::sqrt: return 0.5 / std::sqrt(x);
    case Fn::rsqrt: return -0.5 / (x * std::sqrt(x));
    case Fn::tanh: return 1 / (std::cosh(x) * std::cosh(x));
    case Fn::sigmoid: return s / (1 + std::exp(x));
    case Fn::abs: return x > 0 ? 1 : x < 0 ? -1 : 0;
    case Fn::neg: return -1;
    case Fn::square: return 2 * x;
    case Fn::recip: return -1 / (x * x);
  }
  return 0;
}

void testUnaryGrad(const char* target) {
  using Fn = op::unary_grad::Fn;
  for (int f = 0; f < 12; f++) {
    const op::unary_grad::Params p{static_cast<Fn>(f)};
    const bool positive = p.fn == Fn::log || p.fn == Fn::sqrt || p.fn == Fn::rsqrt;
    Rng rng(17 + static_cast<uint64_t>(f));
    Tensor x({3, 16411}), dy({3, 16411}), dx({3, 16411}), dx2({3, 16411});
    x.fill([&](int64_t i) { return positive || i % 3 == 0 ? std::exp(rng.between(-5, 3)) : rng.between(-15, 15); });
    dy.normal(rng);
    check(run(1, &k::unary_grad, p, {&x, &dy}, {&dx}).ok(), "unary_grad runs");
    run(2, &k::unary_grad, p, {&x, &dy}, {&dx2});
    check(same(dx, dx2), "unary_grad: threads change bits");
    std::vector<double> want;
    for (int64_t i = 0; i < x.size(); i++) want.push_back(dy.as()[i] * slope(p.fn, x.as()[i]));
    // The slopes of silu and gelu cross 0, where only their absolute error is small.
    close(dx, want, p.fn == Fn::silu || p.fn == Fn::gelu ? 0.3 : 1e-2, 2e-6, std::string("unary_grad ") + std::to_string(f) + " " + target);
    for (int64_t i = 0; i < 40; i++) {  // a lane alone gives the bits it gives inside a vector
      Tensor one({1}), g({1}), r({1});
      one.as()[0] = x.as()[i * 7];
      g.as()[0] = dy.as()[i * 7];
      run(1, &k::unary_grad, p, {&one, &g}, {&r});
      check(r.as()[0] == dx.as()[i * 7], "unary_grad: position changes bits", target);
    }
  }
  struct Limit {
    Fn fn;
    float x, y;
  };
  for (const Limit& l : {Limit{Fn::gelu, 1e20f, 1},
                         {Fn::gelu, -1e20f, 0},
                         {Fn::gelu, kInf, 1},
                         {Fn::silu, 1e30f, 1},
                         {Fn::silu, -1e30f, 0},
                         {Fn::tanh, 1e30f, 0},
                         {Fn::sigmoid, -kInf, 0},
                         {Fn::abs, -0.0f, 0},
                         {Fn::exp, -kInf, 0},
                         {Fn::gelu, kNaN, kNaN},
                         {Fn::abs, kNaN, kNaN},
                         {Fn::silu, kNaN, kNaN},
                         {Fn::tanh, kNaN, kNaN}}) {
    Tensor x({1}), dy({1}), dx({1});
    x.as()[0] = l.x;
    dy.as()[0] = 1;
    run(1, &k::unary_grad, op::unary_grad::Params{l.fn}, {&x, &dy}, {&dx});
    const float got = dx.as()[0];
    check(got == l.y || (got != got && l.y != l.y), "unary_grad limit",
          std::to_string(static_cast<int>(l.fn)) + " of " + std::to_string(l.x) + " gives " + std::to_string(got));
  }
}

void testAffineGrad(const char* target) {
  Tensor x({7, 11}), dy({7, 11}), dx({7, 11});
  x.fill([](int64_t i) { return static_cast<double>(i % 9) / 4 - 1; });  // hits both limits exactly
  dy.fill([](int64_t i) { return static_cast<double>(i + 1); });
  x.as()[5] = kNaN;
  run(2, &k::affine_grad, op::affine_grad::Params{2, 0.5f, -0.5f, 1.5f}, {&x, &dy}, {&dx});
  int bad = 0;
  for (int64_t i = 0; i < x.size(); i++) {
    const float t = x.as()[i] * 2 + 0.5f;
    bad += dx.as()[i] != (t >= -0.5f && t <= 1.5f ? 2 * dy.as()[i] : 0);
  }
  check(bad == 0, "affine_grad", target);
}

// Index into the smaller tensor for element i of the larger one.
int64_t operandIndex(int64_t i, const Dims& y, const Dims& t) {
  int64_t at = 0, run = 1;
  for (size_t j = 0; j < y.size(); j++) {
    const int64_t n = y[y.size() - 1 - j], r = i % n;
    i /= n;
    if (j >= t.size()) continue;
    const int64_t m = t[t.size() - 1 - j];
    if (m != 1) at += r * run;
    run *= m;
  }
  return at;
}

void testBroadcast(const char* target) {
  const std::vector<std::vector<Dims>> shapes = {{{2, 3, 33}, {3, 1}},
                                                 {{4, 50, 37}, {37}},
                                                 {{3, 5}, {1}},
                                                 {{2, 9, 70}, {1, 9, 70}},
                                                 {{5, 700}, {5, 1}},
                                                 {{1}, {1}},
                                                 {{2, 3}, {2, 3}},
                                                 {{3, 1, 4, 2, 5}, {1, 4, 1, 5}},
                                                 {{2, 70001}, {2, 1}},
                                                 {{3, 66000}, {1}},
                                                 {{1400, 129}, {129}},
                                                 {{7, 3, 5, 2, 3, 2}, {7, 1, 5, 1, 3, 1}},
                                                 {{40, 300, 9}, {9}},
                                                 {{40, 300, 9}, {300, 1}},
                                                 {{3, 70001}, {70001}},
                                                 {{600, 3, 257}, {3, 257}},
                                                 {{9000, 2, 3}, {1, 2, 1}}};
  Rng rng(12);
  for (const auto& s : shapes) {
    Tensor large(s[0]), small(s[1]), y(s[1]), y2(s[1]), big(s[0]);
    large.normal(rng);
    small.normal(rng);
    const std::string what = std::string(target) + " " + std::to_string(large.size()) + " to " + std::to_string(small.size());
    check(run(1, &k::sum_to, op::sum_to::Params{dimsOf(s[1])}, {&large}, {&y}).ok(), "sum_to runs");
    run(2, &k::sum_to, op::sum_to::Params{dimsOf(s[1])}, {&large}, {&y2});
    check(same(y, y2), "sum_to: threads change bits", what);
    std::vector<double> want(static_cast<size_t>(small.size()), 0.0);
    for (int64_t i = 0; i < large.size(); i++) want[static_cast<size_t>(operandIndex(i, s[0], s[1]))] += large.as()[i];
    close(y, want, 1e-3, 2e-7, "sum_to " + what);
    check(run(2, &k::broadcast_to, op::broadcast_to::Params{dimsOf(s[0])}, {&small}, {&big}).ok(), "broadcast_to runs");
    int64_t bad = 0;
    for (int64_t i = 0; i < big.size(); i++) bad += big.as()[i] != small.as()[operandIndex(i, s[0], s[1])];
    check(bad == 0, "broadcast_to", what);
  }
}

void testGate(const char* target) {
  struct Case {
    int64_t B, l, N, Bg, G;
    int32_t at;
  };
  for (const Case& c : {Case{2, 5, 40, 2, 6, 1}, {3, 4, 33, 1, 2, 0}, {3, 130, 257, 1, 2, 1}, {2, 300, 67, 2, 3, 2}, {1, 1, 1, 1, 1, 0}}) {
    Rng rng(static_cast<uint64_t>(c.N));
    Tensor x({c.B, c.l, c.N}), dy({c.B, c.l, c.N}), res({c.B, c.l, c.N}), gate({c.Bg, c.G, c.N}), none;
    Tensor y({c.B, c.l, c.N}), y2({c.B, c.l, c.N}), dGate({c.Bg, c.G, c.N}), dGate2({c.Bg, c.G, c.N});
    x.normal(rng);
    dy.normal(rng);
    res.normal(rng);
    gate.normal(rng);
    const op::gate_residual::Params p{c.at};
    const auto place = [&](int64_t i) { return ((c.Bg == 1 ? 0 : i / c.N / c.l) * c.G + c.at) * c.N + i % c.N; };
    std::vector<double> sum, product, dx, dg(static_cast<size_t>(gate.size()), 0.25);
    for (int64_t i = 0; i < x.size(); i++) {
      const double g = gate.as()[place(i)];
      product.push_back(g * x.as()[i]);
      sum.push_back(res.as()[i] + g * x.as()[i]);
      dx.push_back(g * dy.as()[i]);
      dg[static_cast<size_t>(place(i))] += static_cast<double>(x.as()[i]) * dy.as()[i];
    }
    check(run(2, &k::gate_residual, p, {&x, &gate, &res}, {&y}).ok(), "gate_residual runs");
    close(y, sum, 1, 2e-7, std::string("gate_residual ") + target);
    run(1, &k::gate_residual, p, {&x, &gate, &none}, {&y2});
    close(y2, product, 1, 2e-7, std::string("gate_residual without residual ") + target);
    dGate.fill([](int64_t) { return 0.25; });
    dGate2.fill([](int64_t) { return 0.25; });
    const op::gate_residual_grad::Params q{c.at};
    check(run(1, &k::gate_residual_grad, q, {&x, &dy, &gate, &dGate}, {&y}).ok(), "gate_residual_grad runs");
    run(2, &k::gate_residual_grad, q, {&x, &dy, &gate, &dGate2}, {&y2});
    check(same(y, y2) && same(dGate, dGate2), "gate_residual_grad: threads change bits");
    close(y, dx, 1, 2e-7, std::string("gate_residual_grad dx ") + target);
    close(dGate, dg, 1, 3e-7, std::string("gate_residual_grad dGate ") + target);
    run(2, &k::gate_residual_grad, q, {&x, &dy, &gate, &none}, {&y2});
    check(same(y, y2), "gate_residual_grad without dGate");
  }
}

void testRows(const char* target) {
  struct Case {
    int64_t n, V, C;
  };
  for (const Case& c : {Case{34, 11, 33}, {300, 64, 16}, {1, 1, 1}, {2000, 3, 300}, {5, 4000, 1027}, {700, 5000, 7}}) {
    Rng rng(static_cast<uint64_t>(c.V));
    Tensor idx({c.n}, DType::i32), dy({c.n, c.C}), table({c.V, c.C}), table2({c.V, c.C});
    idx.fill([&](int64_t) { return static_cast<double>(rng.next() % static_cast<uint64_t>(c.V)); });
    dy.normal(rng);
    table.fill([](int64_t i) { return static_cast<double>(i % 7); });
    std::memcpy(table2.data(), table.data(), table.bytes);
    std::vector<float> want(table.as(), table.as() + table.size()), last = want;
    for (int64_t i = 0; i < dy.size(); i++) {  // in the order of idx, so to the bit
      const size_t to = static_cast<size_t>(idx.as<int32_t>()[i / c.C] * c.C + i % c.C);
      want[to] += dy.as()[i];
      last[to] = dy.as()[i];
    }
    check(run(1, &k::embedding_grad, op::embedding_grad::Params{}, {&idx, &dy, &table}, {}).ok(), "embedding_grad runs");
    run(2, &k::embedding_grad, op::embedding_grad::Params{}, {&idx, &dy, &table2}, {});
    check(same(table, table2), "embedding_grad: threads change bits");
    check(std::memcmp(table.data(), want.data(), table.bytes) == 0, "embedding_grad", target);
    table.fill([](int64_t i) { return static_cast<double>(i % 7); });
    check(run(2, &k::scatter_rows, op::scatter_rows::Params{}, {&table, &idx, &dy}, {}).ok(), "scatter_rows runs");
    check(std::memcmp(table.data(), last.data(), table.bytes) == 0, "scatter_rows", target);
    Tensor counts({c.V});
    check(run(2, &k::bincount, op::bincount::Params{static_cast<int32_t>(c.V)}, {&idx}, {&counts}).ok(), "bincount runs");
    std::vector<double> tally(static_cast<size_t>(c.V), 0.0);
    for (int64_t i = 0; i < c.n; i++) tally[static_cast<size_t>(idx.as<int32_t>()[i])]++;
    close(counts, tally, 1, 0, "bincount");
    for (const int32_t wrong : {-1, static_cast<int32_t>(c.V)}) {
      idx.as<int32_t>()[c.n - 1] = wrong;
      std::memcpy(table2.data(), table.data(), table.bytes);
      const std::string place = "idx[" + std::to_string(c.n - 1) + "] is " + std::to_string(wrong);
      const Status s[] = {run(2, &k::embedding_grad, op::embedding_grad::Params{}, {&idx, &dy, &table}, {}),
                          run(2, &k::scatter_rows, op::scatter_rows::Params{}, {&table, &idx, &dy}, {}),
                          run(2, &k::bincount, op::bincount::Params{static_cast<int32_t>(c.V)}, {&idx}, {&counts})};
      for (const Status& e : s) {
        check(e.code == NS_INDEX && std::string(e.message).find(place) != std::string::npos, "a wrong index is named", e.message);
      }
      check(same(table, table2), "a wrong index changes nothing");
    }
  }
}

using Mode = op::interpolate::Mode;

// <interpolate(x), dy> = <x, interpolate_grad(dy)>, in f64 over the kernels' own results; and a one-hot dy gives the forward weights.
void testInterpolateGrad(const char* target) {
  struct Case {
    int64_t B, h, w, C, oh, ow;
  };
  const Case cases[] = {{2, 16, 16, 32, 5, 5}, {1, 5, 7, 3, 2, 3},     {2, 5, 5, 32, 16, 16}, {1, 3, 4, 5, 7, 5},   {1, 1, 1, 9, 4, 4},
                        {1, 4, 4, 17, 4, 4},   {3, 13, 10, 33, 16, 7}, {1, 2, 2, 1, 5, 5},    {1, 6, 5, 4, 12, 10}, {2, 1, 16, 3, 1, 1}};
  Rng rng(3);
  for (const Case& c : cases) {
    Tensor x({c.B, c.h, c.w, c.C}), y({c.B, c.oh, c.ow, c.C}), dy({c.B, c.oh, c.ow, c.C}), dx({c.B, c.h, c.w, c.C}),
        dx2({c.B, c.h, c.w, c.C});
    for (const Mode mode : {Mode::area, Mode::bicubic, Mode::nearest}) {
      const op::interpolate::Params p{mode, static_cast<int32_t>(c.oh), static_cast<int32_t>(c.ow)};
      const op::interpolate_grad::Params q{static_cast<op::interpolate_grad::Mode>(mode), static_cast<int32_t>(c.h),
                                           static_cast<int32_t>(c.w)};
      const std::string what = std::string(target) + " mode " + std::to_string(static_cast<int>(mode));
      x.normal(rng);
      dy.normal(rng);
      run(1, &k::interpolate, p, {&x}, {&y});
      check(run(1, &k::interpolate_grad, q, {&dy}, {&dx}).ok(), "interpolate_grad runs");
      run(2, &k::interpolate_grad, q, {&dy}, {&dx2});
      check(same(dx, dx2), "interpolate_grad: threads change bits");
      double forward = 0, backward = 0, scale = 0;
      for (int64_t i = 0; i < y.size(); i++) forward += static_cast<double>(y.as()[i]) * dy.as()[i];
      for (int64_t i = 0; i < x.size(); i++) {
        backward += static_cast<double>(x.as()[i]) * dx.as()[i];
        scale += std::abs(static_cast<double>(x.as()[i]) * dx.as()[i]);
      }
      check(std::abs(forward - backward) <= 2e-6 * scale, "interpolate_grad is the transpose", what);
      for (int round = 0; round < 4; round++) {
        const int64_t at = static_cast<int64_t>(rng.next() % static_cast<uint64_t>(y.size()));
        const int64_t from = static_cast<int64_t>(rng.next() % static_cast<uint64_t>(x.size()));
        x.fill([&](int64_t i) { return i == from ? 1 : 0; });
        dy.fill([&](int64_t i) { return i == at ? 1 : 0; });
        run(2, &k::interpolate, p, {&x}, {&y});
        run(2, &k::interpolate_grad, q, {&dy}, {&dx});
        check(std::abs(y.as()[at] - dx.as()[from]) < 3e-7, "interpolate_grad has the forward weights", what);
      }
    }
  }
}

void testPairLoss(const char* target) {
  for (const int64_t n : {1, 7, 67, 129, 16384, 70001}) {
    Rng rng(static_cast<uint64_t>(n));
    Tensor x({n}), y({n}), loss({1}), loss2({1}), dLoss({1}), dx({n}), dx2({n});
    x.normal(rng);
    y.normal(rng);
    y.as()[0] = x.as()[0];
    dLoss.as()[0] = -1.5f;
    for (int kind = 0; kind < 2; kind++) {
      double sum = 0;
      std::vector<double> want;
      for (int64_t i = 0; i < n; i++) {
        const double diff = static_cast<double>(x.as()[i]) - y.as()[i], sign = diff > 0 ? 1 : diff < 0 ? -1 : 0;
        sum += kind ? diff * diff : std::abs(diff);
        want.push_back(-1.5 * (kind ? 2 * diff : sign));
      }
      const op::pair_loss::Params p{static_cast<op::pair_loss::Kind>(kind)};
      const op::pair_loss_grad::Params q{static_cast<op::pair_loss_grad::Kind>(kind)};
      check(run(1, &k::pair_loss, p, {&x, &y}, {&loss}).ok(), "pair_loss runs");
      run(2, &k::pair_loss, p, {&x, &y}, {&loss2});
      check(same(loss, loss2), "pair_loss: threads change bits");
      close(loss, {sum / static_cast<double>(n)}, 1e-6, 1e-7, std::string("pair_loss ") + target);
      check(run(1, &k::pair_loss_grad, q, {&x, &y, &dLoss}, {&dx}).ok(), "pair_loss_grad runs");
      run(2, &k::pair_loss_grad, q, {&x, &y, &dLoss}, {&dx2});
      check(same(dx, dx2), "pair_loss_grad: threads change bits");
      for (int64_t i = 0; i < n; i++) dx.as()[i] *= static_cast<float>(n);
      close(dx, want, 1, 5e-7, std::string("pair_loss_grad ") + target);
      x.as()[n - 1] = kNaN;
      run(1, &k::pair_loss_grad, q, {&x, &y, &dLoss}, {&dx});
      check(dx.as()[n - 1] != dx.as()[n - 1], "pair_loss_grad keeps a NaN", target);
      x.as()[n - 1] = n == 1 ? y.as()[0] : 0.5f;
    }
  }
}
}  // namespace

int main() {
  eachTarget([](const char* target) {
    testUnaryGrad(target);
    testAffineGrad(target);
    testBroadcast(target);
    testGate(target);
    testRows(target);
    testInterpolateGrad(target);
    testPairLoss(target);
  });
  return finish();
}

// fill, unary, binary, affine, accumulate, cast, reduce on every SIMD target.
#include <limits>

#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
namespace k = ns::cpu::kernels;

namespace {
const float kInf = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

bool sameFloat(float a, float b) { return a == b || (a != a && b != b); }

double exact(op::unary::Fn fn, double x) {
  using Fn = op::unary::Fn;
  switch (fn) {
    case Fn::silu: return x / (1 + std::exp(-x));
    case Fn::gelu: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Fn::exp: return std::exp(x);
    case Fn::log: return std::log(x);
    case Fn::sqrt: return std::sqrt(x);
    case Fn::rsqrt: return 1 / std::sqrt(x);
    case Fn::tanh: return std::tanh(x);
    case Fn::sigmoid: return 1 / (1 + std::exp(-x));
    case Fn::abs: return std::abs(x);
    case Fn::neg: return -x;
    case Fn::square: return x * x;
    case Fn::recip: return 1 / x;
  }
  return 0;
}

void testUnary(const char* target) {
  for (int f = 0; f < 12; f++) {
    const op::unary::Params p{static_cast<op::unary::Fn>(f)};
    const bool positive = p.fn == op::unary::Fn::log || p.fn == op::unary::Fn::sqrt || p.fn == op::unary::Fn::rsqrt;
    Rng rng(41 + static_cast<uint64_t>(f));
    Tensor x({3, 16411}), y({3, 16411}), y2({3, 16411});
    x.fill([&](int64_t i) { return positive || i % 3 == 0 ? std::exp(rng.between(-12, 4)) : rng.between(-15, 15); });
    check(run(1, &k::unary, p, {&x}, {&y}).ok(), "unary runs");
    run(2, &k::unary, p, {&x}, {&y2});
    check(same(y, y2), "unary: threads change bits");
    std::vector<double> want;
    for (int64_t i = 0; i < x.size(); i++) want.push_back(exact(p.fn, x.as()[i]));
    close(y, want, 1e-3, 1.5e-6, std::string("unary ") + std::to_string(f) + " " + target);
    for (int64_t i = 0; i < 40; i++) {  // a lane alone gives the bits it gives inside a vector
      Tensor one({1}), r({1});
      one.as()[0] = x.as()[i * 7];
      run(1, &k::unary, p, {&one}, {&r});
      check(sameFloat(r.as()[0], y.as()[i * 7]), "unary: position changes bits", target);
    }
  }
}

void testUnaryLimits() {
  using Fn = op::unary::Fn;
  struct Limit {
    Fn fn;
    float x, y;
  };
  const Limit limits[] = {{Fn::log, 0, -kInf},      {Fn::log, -1, kNaN},     {Fn::log, kInf, kInf}, {Fn::log, kNaN, kNaN},
                          {Fn::log, 1, 0},          {Fn::exp, -kInf, 0},     {Fn::exp, kInf, kInf}, {Fn::exp, kNaN, kNaN},
                          {Fn::exp, 0, 1},          {Fn::tanh, kInf, 1},     {Fn::tanh, -kInf, -1}, {Fn::sigmoid, -kInf, 0},
                          {Fn::sigmoid, kInf, 1},   {Fn::sqrt, -1, kNaN},    {Fn::recip, 0, kInf},  {Fn::log, 1e-42f, std::log(1e-42f)},
                          {Fn::silu, 1e30f, 1e30f}, {Fn::gelu, 1e10f, 1e10f}};
  for (const Limit& l : limits) {
    Tensor x({1}), y({1});
    x.as()[0] = l.x;
    run(1, &k::unary, op::unary::Params{l.fn}, {&x}, {&y});
    const float got = y.as()[0];
    check(sameFloat(got, l.y) || std::abs(got - l.y) <= 1e-6f * std::abs(l.y), "unary limit",
          std::to_string(static_cast<int>(l.fn)) + " of " + std::to_string(l.x) + " gives " + std::to_string(got));
  }
}

double exact(op::binary::Fn fn, double a, double b) {
  using Fn = op::binary::Fn;
  switch (fn) {
    case Fn::add: return a + b;
    case Fn::sub: return a - b;
    case Fn::mul: return a * b;
    case Fn::div: return a / b;
    case Fn::max: return a > b ? a : b;
    case Fn::min: return a < b ? a : b;
    case Fn::lt: return a < b;
    case Fn::le: return a <= b;
  }
  return 0;
}

using Dims = std::vector<int64_t>;

// Index into a broadcast operand for element i of an output of dims y.
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

void testBinary(const char* target) {
  const std::vector<std::vector<Dims>> shapes = {{{2, 3, 33}, {2, 3, 33}, {2, 3, 33}},
                                                 {{2, 3, 33}, {3, 1}, {2, 3, 33}},
                                                 {{2, 1, 5}, {4, 5}, {2, 4, 5}},
                                                 {{7}, {1}, {7}},
                                                 {{1}, {1}, {1}},
                                                 {{1, 6, 4}, {3, 6, 4}, {3, 6, 4}},
                                                 {{5, 1, 3, 1, 2}, {4, 1, 6, 1}, {5, 4, 3, 6, 2}},
                                                 {{2, 40000}, {40000}, {2, 40000}},
                                                 {{3, 1}, {1, 20000}, {3, 20000}},
                                                 {{}, {3}, {3}}};
  Rng rng(5);
  for (const auto& s : shapes) {
    for (int f = 0; f < 8; f++) {
      const op::binary::Params p{static_cast<op::binary::Fn>(f)};
      Tensor a(s[0]), b(s[1]), y(s[2]), y2(s[2]);
      a.fill([&](int64_t) { return rng.between(0.5, 2); });
      b.fill([&](int64_t) { return rng.between(0.5, 2); });
      check(run(1, &k::binary, p, {&a, &b}, {&y}).ok(), "binary runs");
      run(2, &k::binary, p, {&a, &b}, {&y2});
      check(same(y, y2), "binary: threads change bits");
      int64_t bad = 0;
      for (int64_t i = 0; i < y.size(); i++) {
        const float u = a.as()[operandIndex(i, s[2], s[0])], v = b.as()[operandIndex(i, s[2], s[1])];
        bad += y.as()[i] != static_cast<float>(exact(p.fn, u, v));  // one rounding of the exact result
      }
      check(bad == 0, "binary", std::string(target) + " fn " + std::to_string(f) + ": " + std::to_string(bad) + " wrong");
    }
  }
  Tensor a({9}), b({9}), y({9});
  a.fill([](int64_t i) { return i == 4 ? kNaN : 1; });
  b.fill([](int64_t i) { return i == 5 ? kNaN : 2; });
  for (const auto fn : {op::binary::Fn::max, op::binary::Fn::min}) {
    run(1, &k::binary, op::binary::Params{fn}, {&a, &b}, {&y});
    for (int i = 0; i < 9; i++) check((y.as()[i] != y.as()[i]) == (i == 4 || i == 5), "max and min keep a NaN", target);
  }
}

void testBinaryI32(const char* target) {
  const std::vector<int32_t> u = {7, -7, 7, -7, INT32_MIN, INT32_MAX, 5, 0, 9}, v = {2, 2, -2, -2, -1, 1, 0, 3, 9};
  const std::vector<std::vector<int32_t>> want = {{9, -5, 5, -9, INT32_MAX, INT32_MIN, 5, 3, 18},
                                                  {5, -9, 9, -5, INT32_MIN + 1, INT32_MAX - 1, 5, -3, 0},
                                                  {14, -14, -14, 14, INT32_MIN, INT32_MAX, 0, 0, 81},
                                                  {3, -3, -3, 3, INT32_MIN, INT32_MAX, 0, 0, 1},
                                                  {7, 2, 7, -2, -1, INT32_MAX, 5, 3, 9},
                                                  {2, -7, -2, -7, INT32_MIN, 1, 0, 0, 9},
                                                  {0, 1, 0, 1, 1, 0, 0, 1, 0},
                                                  {0, 1, 0, 1, 1, 0, 0, 1, 1}};
  Tensor a({9}, DType::i32), b({9}, DType::i32), y({9}, DType::i32);
  std::memcpy(a.data(), u.data(), 36);
  std::memcpy(b.data(), v.data(), 36);
  for (int f = 0; f < 8; f++) {
    run(1, &k::binary, op::binary::Params{static_cast<op::binary::Fn>(f)}, {&a, &b}, {&y});
    check(std::memcmp(y.data(), want[static_cast<size_t>(f)].data(), 36) == 0, "binary i32",
          std::string(target) + " fn " + std::to_string(f));
  }
  Tensor u8({9}, DType::u8);
  check(run(1, &k::binary, op::binary::Params{}, {&u8, &u8}, {&u8}).code == NS_UNSUPPORTED, "binary refuses u8");
}

void testAffineAccumulate(const char* target) {
  Rng rng(8);
  Tensor x({2, 20011}), y({2, 20011}), y2({2, 20011});
  x.normal(rng);
  x.as()[3] = kNaN;
  const op::affine::Params p{2.5f, -0.25f, -1.0f, kInf};
  run(1, &k::affine, p, {&x}, {&y});
  run(2, &k::affine, p, {&x}, {&y2});
  check(same(y, y2), "affine: threads change bits");
  int64_t bad = 0;
  for (int64_t i = 0; i < x.size(); i++) {
    const volatile float product = x.as()[i] * 2.5f;
    const float t = product - 0.25f;
    bad += !sameFloat(y.as()[i], t < -1.0f ? -1.0f : t);
  }
  check(bad == 0, "affine", target);
  for (const float beta : {1.0f, 0.5f, 0.0f}) {
    Tensor acc({2, 20011}), acc2({2, 20011});
    acc.fill([](int64_t i) { return static_cast<double>(i % 17); });
    acc2.fill([](int64_t i) { return static_cast<double>(i % 17); });
    run(1, &k::accumulate, op::accumulate::Params{0.25f, beta}, {&acc, &x}, {});
    run(2, &k::accumulate, op::accumulate::Params{0.25f, beta}, {&acc2, &x}, {});
    check(same(acc, acc2), "accumulate: threads change bits");
    bad = 0;
    for (int64_t i = 0; i < x.size(); i++) {
      const volatile float u = static_cast<float>(i % 17) * beta, v = x.as()[i] * 0.25f;
      bad += !sameFloat(acc.as()[i], u + v);
    }
    check(bad == 0, "accumulate", target);
  }
}

void testFill() {
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u8}) {
    Tensor y({3, 20001}, type);
    op::fill::Params p{};
    p.value = 3.0f;
    p.dtype = type;
    check(run(2, &k::fill, p, {}, {&y}).ok(), "fill runs");
    const uint32_t bits[] = {0x40400000u, 0x4200u, 0x4040u, 3u, 3u};
    const size_t size = dtypeSize(type);
    int64_t bad = 0;
    for (int64_t i = 0; i < y.size(); i++) {
      uint32_t got = 0;
      std::memcpy(&got, y.as<unsigned char>() + i * static_cast<int64_t>(size), size);
      bad += got != bits[static_cast<int>(type)];
    }
    check(bad == 0, "fill", dtypeName(type));
  }
}

double reduceExact(op::reduce::Fn fn, const std::vector<double>& v) {
  double s = 0, m = v[0];
  size_t at = 0;
  for (size_t i = 0; i < v.size(); i++) {
    s += v[i];
    if (fn == op::reduce::Fn::min ? v[i] < m : v[i] > m) {
      m = v[i];
      at = i;
    }
  }
  return fn == op::reduce::Fn::sum      ? s
         : fn == op::reduce::Fn::mean   ? s / static_cast<double>(v.size())
         : fn == op::reduce::Fn::argmax ? static_cast<double>(at)
                                        : m;
}

void testReduce(const char* target) {
  const std::vector<Dims> shapes = {{3, 5, 37}, {4, 70}, {1, 200001}, {2, 1, 4}, {3, 131}, {5, 9, 1, 300}};
  Rng rng(77);
  for (const Dims& s : shapes) {
    Tensor x(s);
    x.fill([&](int64_t) { return std::floor(rng.between(-50, 50)) / 8; });  // repeats: the first maximum must win
    for (size_t axis = 0; axis < s.size(); axis++) {
      for (int f = 0; f < 5; f++) {
        const op::reduce::Fn fn = static_cast<op::reduce::Fn>(f);
        Dims ys = s;
        ys.erase(ys.begin() + static_cast<int64_t>(axis));
        const DType type = fn == op::reduce::Fn::argmax ? DType::i32 : DType::f32;
        Tensor y(ys, type), y2(ys, type);
        const int32_t ax = static_cast<int32_t>(axis);
        check(run(1, &k::reduce, op::reduce::Params{fn, ax}, {&x}, {&y}).ok(), "reduce runs");
        run(2, &k::reduce, op::reduce::Params{fn, ax - static_cast<int32_t>(s.size())}, {&x}, {&y2});
        check(same(y, y2), "reduce: threads or a negative axis change bits");
        int64_t inner = 1, bad = 0;
        for (size_t i = axis + 1; i < s.size(); i++) inner *= s[i];
        for (int64_t i = 0; i < y.size(); i++) {
          std::vector<double> line;
          for (int64_t j = 0; j < s[axis]; j++) line.push_back(x.as()[(i / inner * s[axis] + j) * inner + i % inner]);
          const double want = reduceExact(fn, line), got = type == DType::i32 ? y.as<int32_t>()[i] : y.as()[i];
          bad += std::abs(got - want) > 2e-7 * std::abs(want);
        }
        check(bad == 0, "reduce", std::string(target) + " fn " + std::to_string(f) + " axis " + std::to_string(axis));
      }
    }
  }
  Tensor x({2, 70001}), y({2}), at({2}, DType::i32);
  x.fill([](int64_t i) { return i == 70000 || i == 70001 + 9 ? kNaN : static_cast<double>(i % 11); });
  run(2, &k::reduce, op::reduce::Params{op::reduce::Fn::max, 1}, {&x}, {&y});
  run(2, &k::reduce, op::reduce::Params{op::reduce::Fn::argmax, 1}, {&x}, {&at});
  check(y.as()[0] != y.as()[0] && y.as()[1] != y.as()[1] && at.as<int32_t>()[0] == 70000 && at.as<int32_t>()[1] == 9,
        "a NaN is the maximum", target);
}
}  // namespace

int main() {
  eachTarget([](const char* target) {
    testUnary(target);
    testUnaryLimits();
    testBinary(target);
    testBinaryI32(target);
    testAffineAccumulate(target);
    testFill();
    testReduce(target);
  });
  return finish();
}

// cast: every 16-bit pattern, every rounding case, saturation, all pairs of dtypes, on every SIMD target.
#include <limits>

#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;

namespace {
const DType kTypes[] = {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u8};

Tensor cast(Tensor& x, DType to, int threads = 1) {
  Tensor y(std::vector<int64_t>(x.t.dims, x.t.dims + x.t.ndim), to);
  check(run(threads, &cpu::kernels::cast, op::cast::Params{to}, {&x}, {&y}).ok(), "cast runs");
  return y;
}

// Value of a 16-bit pattern with the given numbers of exponent and mantissa bits.
double decode(uint16_t bits, int exponentBits, int mantissaBits) {
  const int bias = (1 << (exponentBits - 1)) - 1, e = (bits >> mantissaBits) & ((1 << exponentBits) - 1),
            m = bits & ((1 << mantissaBits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (e == (1 << exponentBits) - 1) return m ? std::numeric_limits<double>::quiet_NaN() : sign * INFINITY;
  return sign * (e ? std::ldexp(1 + std::ldexp(m, -mantissaBits), e - bias) : std::ldexp(m, 1 - bias - mantissaBits));
}

void testHalf(DType type, int exponentBits, int mantissaBits, const char* target) {
  Tensor all({65536}, type);
  for (int i = 0; i < 65536; i++) all.as<uint16_t>()[i] = static_cast<uint16_t>(i);
  Tensor wide = cast(all, DType::f32, 2);
  int64_t bad = 0;
  for (int i = 0; i < 65536; i++) {
    const double want = decode(static_cast<uint16_t>(i), exponentBits, mantissaBits), got = wide.as()[i];
    bad += want != want ? got == got : got != want || std::signbit(got) != std::signbit(want);
  }
  check(bad == 0, "16 bits to f32", std::string(target) + " " + dtypeName(type) + ": " + std::to_string(bad) + " wrong");

  // Between neighbours a < b: the midpoint goes to the even one, a hair beside it to the nearer one. NaN patterns are left out.
  const int32_t last = ((1 << exponentBits) - 1) << mantissaBits;  // infinity
  std::vector<float> in;
  std::vector<int> want;
  for (int32_t i = 0; i < last; i++) {
    const double a = decode(static_cast<uint16_t>(i), exponentBits, mantissaBits);
    const double b = i + 1 == last ? 2 * a - decode(static_cast<uint16_t>(i - 1), exponentBits, mantissaBits)
                                   : decode(static_cast<uint16_t>(i + 1), exponentBits, mantissaBits);
    const float mid = static_cast<float>(a / 2 + b / 2);
    if (static_cast<double>(mid) != a / 2 + b / 2) continue;  // below f32's own subnormals
    in.insert(in.end(), {static_cast<float>(a), mid, std::nextafter(mid, 0.0f), std::nextafter(mid, INFINITY), -mid});
    const int even = i % 2 ? i + 1 : i;
    want.insert(want.end(), {i, even, i, i + 1, even | 0x8000});
  }
  Tensor x({static_cast<int64_t>(in.size())});
  std::memcpy(x.data(), in.data(), x.bytes);
  Tensor y = cast(x, type, 2);
  bad = 0;
  for (size_t i = 0; i < in.size(); i++) bad += y.as<uint16_t>()[i] != want[i];
  check(bad == 0, "f32 to 16 bits",
        std::string(target) + " " + dtypeName(type) + ": " + std::to_string(bad) + " of " + std::to_string(in.size()) + " wrong");

  Tensor special({4});
  special.fill([](int64_t i) { return i == 0 ? INFINITY : i == 1 ? -INFINITY : i == 2 ? NAN : 3.4e38; });
  Tensor s = cast(special, type);
  const uint16_t inf = static_cast<uint16_t>(last);
  check(s.as<uint16_t>()[0] == inf && s.as<uint16_t>()[1] == (inf | 0x8000) && (s.as<uint16_t>()[2] & 0x7fff) > inf, "infinities and NaN",
        target);
  check(s.as<uint16_t>()[3] == inf, "overflow is infinity", target);
}

void testIntegers(const char* target) {
  const std::vector<float> in = {0,     -0.9f,    0.9f,      1.5f, -1.5f,   2147483520.0f, 2147483648.0f, 3e9f, -2147483648.0f,
                                 -3e9f, INFINITY, -INFINITY, NAN,  254.99f, 255.5f,        256,           300,  -20,
                                 32768, 33000,    65535,     65536};
  const std::vector<int32_t> i32 = {0,         0, 0,   1,   -1,  2147483520, INT32_MAX, INT32_MAX, INT32_MIN, INT32_MIN, INT32_MAX,
                                    INT32_MIN, 0, 254, 255, 256, 300,        -20,       32768,     33000,     65535,     65536};
  const std::vector<int> u8 = {0, 0, 0, 1, 0, 255, 255, 255, 0, 0, 255, 0, 0, 254, 255, 255, 255, 0, 255, 255, 255, 255};
  Tensor x({static_cast<int64_t>(in.size())});
  std::memcpy(x.data(), in.data(), x.bytes);
  Tensor yi = cast(x, DType::i32), yu = cast(x, DType::u8);
  for (size_t i = 0; i < in.size(); i++) {
    check(yi.as<int32_t>()[i] == i32[i], "f32 to i32", std::string(target) + " " + std::to_string(in[i]));
    check(yu.as<uint8_t>()[i] == u8[i], "f32 to u8", std::string(target) + " " + std::to_string(in[i]));
  }
}

// Small integers survive every pair of dtypes, in any length and at any thread count.
void testPairs(const char* target) {
  for (const int64_t n : {1, 7, 16, 33, 40001}) {
    for (const DType from : kTypes) {
      Tensor base({n});
      base.fill([](int64_t i) { return static_cast<double>(i % 200); });
      Tensor x = cast(base, from);
      for (const DType to : kTypes) {
        Tensor y = cast(x, to, 2), back = cast(y, DType::f32);
        check(same(back, base), "pair of dtypes", std::string(target) + " " + dtypeName(from) + " " + dtypeName(to));
      }
    }
  }
  Tensor big({5}, DType::i32), same32({5}, DType::i32);
  big.fill([](int64_t i) { return 2147483000.0 + static_cast<double>(i); });
  same32 = cast(big, DType::i32);
  check(same(big, same32), "i32 to i32 keeps every bit");
}
}  // namespace

int main() {
  eachTarget([](const char* target) {
    testHalf(DType::f16, 5, 10, target);
    testHalf(DType::bf16, 8, 7, target);
    testIntegers(target);
    testPairs(target);
  });
  Tensor x({3});
  op::cast::Params p{static_cast<DType>(9)};
  check(run(1, &cpu::kernels::cast, p, {&x}, {&x}).code == NS_UNSUPPORTED, "an unknown dtype is refused");
  return finish();
}

// interpolate, resize_lanczos, image_to_unit, unit_to_image on every SIMD target.
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
namespace k = ns::cpu::kernels;

namespace {
using Mode = op::interpolate::Mode;

double keys(double t) {
  const double a = -0.75, x = std::abs(t);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

int64_t clampTo(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

// Weight of input sample i for output o along one dim.
double weight(Mode mode, int64_t o, int64_t in, int64_t out, int64_t i) {
  if (mode == Mode::nearest) return i == o * in / out ? 1 : 0;
  if (mode == Mode::area) {
    const int64_t a = o * in / out, b = ((o + 1) * in + out - 1) / out;
    return i >= a && i < b ? 1.0 / static_cast<double>(b - a) : 0;
  }
  const double src = (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5, base = std::floor(src);
  double w = 0;
  for (int t = -1; t <= 2; t++) {
    if (clampTo(static_cast<int64_t>(base) + t, in) == i) w += keys(src - base - t);
  }
  return w;
}

void testInterpolate(const char* target) {
  struct Case {
    int64_t B, h, w, C, oh, ow;
  };
  const Case cases[] = {{2, 16, 16, 32, 5, 5}, {1, 5, 7, 3, 2, 3},  {2, 5, 5, 32, 16, 16},  {1, 3, 4, 5, 7, 5},
                        {1, 1, 1, 9, 4, 4},    {1, 4, 4, 17, 4, 4}, {3, 13, 10, 33, 16, 7}, {1, 2, 2, 1, 5, 5}};
  Rng rng(3);
  for (const Case& c : cases) {
    Tensor x({c.B, c.h, c.w, c.C}), y({c.B, c.oh, c.ow, c.C}), y2({c.B, c.oh, c.ow, c.C});
    x.normal(rng);
    for (const Mode mode : {Mode::area, Mode::bicubic, Mode::nearest}) {
      const op::interpolate::Params p{mode, static_cast<int32_t>(c.oh), static_cast<int32_t>(c.ow)};
      check(run(1, &k::interpolate, p, {&x}, {&y}).ok(), "interpolate runs");
      run(2, &k::interpolate, p, {&x}, {&y2});
      check(same(y, y2), "interpolate: threads change bits");
      std::vector<double> want;
      for (int64_t i = 0; i < y.size(); i++) {
        const int64_t ch = i % c.C, ox = i / c.C % c.ow, oy = i / c.C / c.ow % c.oh, b = i / c.C / c.ow / c.oh;
        double s = 0;
        for (int64_t iy = 0; iy < c.h; iy++) {
          for (int64_t ix = 0; ix < c.w; ix++) {
            s += weight(mode, oy, c.h, c.oh, iy) * weight(mode, ox, c.w, c.ow, ix) * x.as()[((b * c.h + iy) * c.w + ix) * c.C + ch];
          }
        }
        want.push_back(s);
      }
      close(y, want, 1, 2e-6, std::string("interpolate ") + target + " mode " + std::to_string(static_cast<int>(mode)));
    }
  }
  // The same image alone and inside a batch.
  Tensor two({2, 7, 6, 5}), one({1, 7, 6, 5}), y({2, 9, 4, 5}), z({1, 9, 4, 5});
  two.normal(rng);
  std::memcpy(one.data(), two.as() + one.size(), one.bytes);
  run(2, &k::interpolate, op::interpolate::Params{Mode::bicubic, 9, 4}, {&two}, {&y});
  run(1, &k::interpolate, op::interpolate::Params{Mode::bicubic, 9, 4}, {&one}, {&z});
  check(std::memcmp(y.as() + z.size(), z.data(), z.bytes) == 0, "interpolate: the batch changes bits", target);
}

uint32_t fnv(Tensor& t) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < t.bytes; i++) h = (h ^ t.as<uint8_t>()[i]) * 16777619u;
  return h;
}

// FNV-1a of what PIL 9.4 makes of the same noise with Image.resize((outW, outH), LANCZOS), channel by channel.
void testLanczos(const char* target) {
  struct Case {
    int64_t h, w, C, oh, ow;
    uint32_t hash;
  };
  const Case cases[] = {{53, 41, 3, 20, 17, 0x991471afu}, {9, 11, 1, 24, 30, 0xadce08e2u},    {10, 10, 4, 10, 7, 0xf4cd64b8u},
                        {64, 48, 3, 31, 48, 0xf39cfc2cu}, {17, 33, 3, 256, 256, 0x42eb50c9u}, {301, 200, 3, 64, 64, 0x016d41e4u},
                        {5, 7, 1, 1, 1, 0xf90c4a3bu},     {1, 1, 3, 4, 5, 0x12f46ef9u}};
  for (const Case& c : cases) {
    Tensor x({c.h, c.w, c.C}, DType::u8), y({c.oh, c.ow, c.C}, DType::u8);
    uint32_t s = static_cast<uint32_t>(c.h * 1000 + c.w);
    for (size_t i = 0; i < x.bytes; i++) {
      s = s * 1664525u + 1013904223u;
      x.as<uint8_t>()[i] = static_cast<uint8_t>(s >> 24);
    }
    for (int threads = 1; threads <= 2; threads++) {
      const op::resize_lanczos::Params p{static_cast<int32_t>(c.oh), static_cast<int32_t>(c.ow)};
      check(run(threads, &k::resize_lanczos, p, {&x}, {&y}).ok(), "resize_lanczos runs");
      check(fnv(y) == c.hash, "resize_lanczos", std::string(target) + " " + std::to_string(c.h) + "x" + std::to_string(c.w));
    }
  }
  Tensor flat({30, 20, 2}, DType::u8), y({7, 51, 2}, DType::u8), same2({30, 20, 2}, DType::u8);
  std::memset(flat.data(), 201, flat.bytes);
  run(2, &k::resize_lanczos, op::resize_lanczos::Params{7, 51}, {&flat}, {&y});
  bool constant = true;
  for (size_t i = 0; i < y.bytes; i++) constant = constant && y.as<uint8_t>()[i] == 201;
  check(constant, "a flat image stays flat", target);
  run(1, &k::resize_lanczos, op::resize_lanczos::Params{30, 20}, {&flat}, {&same2});
  check(same(flat, same2), "the same size is a copy");
  check(run(1, &k::resize_lanczos, op::resize_lanczos::Params{0, 5}, {&flat}, {&y}).code == NS_UNSUPPORTED, "no empty output");
}

void testUnit(const char* target) {
  Tensor bytes({256 + 13}, DType::u8), unit({256 + 13}), back({256 + 13}, DType::u8);
  for (int i = 0; i < 256 + 13; i++) bytes.as<uint8_t>()[i] = static_cast<uint8_t>(i);
  run(2, &k::image_to_unit, op::image_to_unit::Params{}, {&bytes}, {&unit});
  int bad = 0;
  for (int i = 0; i < 256 + 13; i++) {
    const volatile float v = static_cast<float>(i & 255) / 255.0f;
    bad += unit.as()[i] != v + v - 1.0f;
  }
  check(bad == 0, "image_to_unit", target);
  run(1, &k::unit_to_image, op::unit_to_image::Params{}, {&unit}, {&back});
  check(same(bytes, back), "bytes survive the way to [-1,1] and back", target);

  const std::vector<float> in = {-1,     1,    0, NAN, INFINITY, -INFINITY, -1.2f, 1.2f, 1.0f / 255 - 1, 5.0f / 255 - 1, 3.0f / 255 - 1,
                                 0.999f, -0.0f};
  Tensor x({static_cast<int64_t>(in.size())}), y({static_cast<int64_t>(in.size())}, DType::u8);
  std::memcpy(x.data(), in.data(), x.bytes);
  run(1, &k::unit_to_image, op::unit_to_image::Params{}, {&x}, {&y});
  for (size_t i = 0; i < in.size(); i++) {
    const volatile float shifted = in[i] + 1.0f;
    const volatile float s = shifted * 127.5f;
    const int want = s > 255 ? 255 : s > 0 ? static_cast<int>(std::nearbyint(s)) : 0;
    check(y.as<uint8_t>()[i] == want, "unit_to_image",
          std::string(target) + " " + std::to_string(in[i]) + " gives " + std::to_string(y.as<uint8_t>()[i]));
  }
}
}  // namespace

int main() {
  eachTarget([](const char* target) {
    testInterpolate(target);
    testLanczos(target);
    testUnit(target);
  });
  return finish();
}

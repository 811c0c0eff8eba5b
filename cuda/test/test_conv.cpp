// Convolution: division by multiplication, the view of the maps as pixels, bank conflicts of its tiles, and conv_pack, conv2d and
// conv2d_grad_w against plain loops over odd shapes, dtypes and tiles.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cuda/common/context.h"
#include "cuda/common/launch.h"
#include "cuda/kernels/conv_map.h"
#include "cuda/kernels/gemm_tile.cuh"
#include "native/test/check.h"

namespace {

using namespace ns;
using namespace ns::cuda;
using ns::test::check;

void testDivision() {
  int64_t wrong = 0;
  const auto both = [&](const Divisor& by, int d, int64_t n) {
    if (n >= 0 && n <= INT32_MAX && by.quotient(static_cast<int>(n)) != static_cast<int>(n) / d) wrong++;
  };
  const auto tryDivisor = [&](int d) {
    const Divisor by = divisorOf(d);
    for (int64_t n = 0; n < 300; n++) both(by, d, n);
    for (int64_t q = 1; q <= INT32_MAX / d; q += std::max<int64_t>(1, INT32_MAX / d / 97)) {
      for (int64_t n = q * d - 1; n <= q * d + 1; n++) both(by, d, n);
    }
    for (int64_t n = int64_t{INT32_MAX} - 50; n <= INT32_MAX; n++) both(by, d, n);
    const int64_t last = static_cast<int64_t>(INT32_MAX / d) * d;
    for (int64_t n = last - 2; n <= last + 2; n++) both(by, d, n);
  };
  for (int d = 1; d <= 3000; d++) tryDivisor(d);
  for (int bit = 1; bit < 31; bit++) {
    for (int near = -2; near <= 2; near++) {
      const int64_t d = (int64_t{1} << bit) + near;
      if (d >= 1) tryDivisor(static_cast<int>(d));
    }
  }
  for (int d = INT32_MAX - 20; d < INT32_MAX; d++) tryDivisor(d);
  check(wrong == 0, "division by multiplication", std::to_string(wrong) + " quotients differ");
}

// The largest number of different 128-byte lines that one phase of eight lanes asks of the same bank; 1 is free of conflicts.
template <class F>
int conflicts(F address) {
  int most = 0;
  for (int bank = 0; bank < 8; bank++) {
    std::vector<int> seen;
    for (int lane = 0; lane < 8; lane++) {
      const int at = address(lane);
      if (at / 16 % 8 == bank && std::find(seen.begin(), seen.end(), at) == seen.end()) seen.push_back(at);
    }
    most = std::max(most, static_cast<int>(seen.size()));
  }
  return most;
}

void testBanks() {
  int most = 0;
  for (int first = 0; first < 160; first += 8) {
    for (int chunk = 0; chunk < 4; chunk++) {
      most = std::max(most, conflicts([&](int lane) { return gemm::alongK<64>(first + lane, chunk); }));
    }
    most = std::max(most, conflicts([&](int lane) { return gemm::alongK<64>(first / 4 + lane / 4, lane % 4); }));
  }
  check(most == 1, "tile along k without conflicts");
  most = 0;
  for (int k = 0; k < 32; k += 8) {
    for (int chunk = 0; chunk < 20; chunk++) {
      most = std::max(most, conflicts([&](int lane) { return gemm::acrossK<bf16, 160>(k + lane, chunk); }));
    }
  }
  check(most == 1, "tile of 160 across k without conflicts");
  std::vector<int> used(32 * 160 * 2 / 16);
  for (int k = 0; k < 32; k++) {
    for (int chunk = 0; chunk < 20; chunk++) used[static_cast<size_t>(gemm::acrossK<bf16, 160>(k, chunk) / 16)]++;
  }
  check(std::all_of(used.begin(), used.end(), [](int n) { return n == 1; }), "chunks of a tile of 160 have places of their own");
  used.assign(128 * 16, 0);
  for (int row = 0; row < 128; row++) {
    for (int col = 0; col < 16; col++) used[static_cast<size_t>(gemm::stored<16>(row, col))]++;
  }
  check(std::all_of(used.begin(), used.end(), [](int n) { return n == 1; }), "sums of a tile of 16 columns have places of their own");
  int words = 0;  // f32 across k: lane (g, t) reads column g of line t
  for (int first = 0; first < 160; first += 8) {
    std::vector<int> banks(32);
    for (int lane = 0; lane < 32; lane++) {
      const int at = first + lane / 4, byte = gemm::acrossK<float, 160>(lane % 4, at / 4) + at % 4 * 4;
      words = std::max(words, ++banks[static_cast<size_t>(byte / 4 % 32)]);
    }
  }
  check(words == 1, "f32 tile of 160 across k without conflicts");
}

struct Memory : Scratch {
  std::vector<void*> slots = std::vector<void*>(8);
  void* bytes(int slot, size_t n) override {
    void*& p = slots[static_cast<size_t>(slot)];
    cudaFree(p);
    cudaMalloc(&p, std::max<size_t>(n, 16));
    return p;
  }
  ~Memory() override {
    for (void* p : slots) cudaFree(p);
  }
};

float rounded(float v, DType t) {
  return t == DType::f16 ? toFloat(fromFloat<f16>(v)) : t == DType::bf16 ? toFloat(fromFloat<bf16>(v)) : v;
}

// A tensor on the device and its values. Sixteen sentinel bytes stand behind it.
struct Ten {
  std::vector<int64_t> dims;
  DType type = DType::f32;
  std::vector<float> v;
  char* data = nullptr;

  Ten() = default;
  Ten(std::vector<int64_t> d, DType t, unsigned seed) : dims(std::move(d)), type(t) {
    size_t n = 1;
    for (int64_t d1 : dims) n *= static_cast<size_t>(d1);
    v.resize(n);
    for (float& e : v) {
      seed = seed * 1664525u + 1013904223u;
      e = rounded(static_cast<float>(seed >> 8) / (1 << 23) - 1, t);
    }
    cudaMalloc(reinterpret_cast<void**>(&data), bytes() + 16);
    cudaMemset(data, 0x5a, bytes() + 16);
    std::vector<char> raw(bytes());
    for (size_t i = 0; i < n; i++) {
      const f16 h = fromFloat<f16>(v[i]);
      const bf16 b = fromFloat<bf16>(v[i]);
      const void* from = t == DType::f16 ? static_cast<const void*>(&h) : t == DType::bf16 ? static_cast<const void*>(&b) : &v[i];
      memcpy(raw.data() + i * dtypeSize(t), from, dtypeSize(t));
    }
    cudaMemcpy(data, raw.data(), raw.size(), cudaMemcpyHostToDevice);
  }
  Ten(const Ten&) = delete;
  Ten& operator=(const Ten&) = delete;
  ~Ten() { cudaFree(data); }

  size_t bytes() const { return v.size() * dtypeSize(type); }
  NsTensor tensor() const {
    NsTensor t{};
    t.data = data;
    t.dtype = static_cast<int32_t>(type);
    t.ndim = static_cast<int32_t>(dims.size());
    std::copy(dims.begin(), dims.end(), t.dims);
    return t;
  }
  std::vector<float> read(bool& whole) const {
    std::vector<char> raw(bytes() + 16);
    cudaMemcpy(raw.data(), data, raw.size(), cudaMemcpyDeviceToHost);
    whole = std::all_of(raw.end() - 16, raw.end(), [](char c) { return c == 0x5a; });
    std::vector<float> out(v.size());
    for (size_t i = 0; i < v.size(); i++) {
      const char* from = raw.data() + i * dtypeSize(type);
      f16 h;
      bf16 b;
      memcpy(&h, from, 2);
      memcpy(&b, from, 2);
      if (type == DType::f32) memcpy(&out[i], from, 4);
      if (type == DType::f16) out[i] = toFloat(h);
      if (type == DType::bf16) out[i] = toFloat(b);
    }
    return out;
  }
};

struct Device {
  Memory memory;
  Libraries libraries;
  DeviceError* error = nullptr;
  Device() {
    cudaMalloc(reinterpret_cast<void**>(&error), sizeof(DeviceError));
    cudaMemset(error, 0, sizeof(DeviceError));
  }
  ~Device() { cudaFree(error); }
  Context context(int sms, bool tf32) { return {nullptr, error, 0, sms, 80, 99 * 1024, tf32, false, memory, libraries}; }
};

struct Conv {
  int batch, h, w, in, out, kernel, stride, before, after, up;
  int outH() const { return (h * up + before + after - kernel) / stride + 1; }
  int outW() const { return (w * up + before + after - kernel) / stride + 1; }
  std::string name() const {
    std::string s;
    for (int n : {batch, h, w, in, out, kernel, stride, before, after, up}) s += std::to_string(n) + ' ';
    return s;
  }
};

constexpr Conv kConvs[] = {
    {2, 9, 7, 5, 20, 3, 1, 1, 1, 1},   {1, 12, 11, 32, 48, 3, 1, 1, 1, 1},  {2, 10, 8, 12, 18, 3, 2, 0, 1, 1},
    {1, 5, 6, 16, 24, 3, 1, 1, 1, 2},  {2, 6, 5, 40, 33, 1, 1, 0, 0, 1},    {1, 1, 1, 16, 16, 3, 1, 1, 1, 1},
    {1, 7, 9, 8, 3, 3, 1, 1, 1, 1},    {1, 13, 12, 24, 160, 3, 1, 1, 1, 1}, {3, 8, 9, 16, 128, 1, 1, 0, 0, 1},
    {1, 16, 17, 3, 32, 5, 3, 2, 2, 1}, {1, 4, 5, 8, 16, 4, 2, 1, 1, 3},     {1, 13, 3, 64, 7, 2, 1, 0, 1, 1},
    {1, 3, 4, 8, 8, 3, 2, 3, 3, 1},    {2, 3, 3, 1, 1, 2, 1, 2, 2, 2},      {1, 9, 15, 3, 160, 3, 1, 1, 1, 1},
};

// f(pixel of y, weight place (ky, kx), pixel of x) over all pairs inside the map.
template <class F>
void eachPair(const Conv& c, F f) {
  for (int b = 0; b < c.batch; b++) {
    for (int oy = 0; oy < c.outH(); oy++) {
      for (int ox = 0; ox < c.outW(); ox++) {
        for (int tap = 0; tap < c.kernel * c.kernel; tap++) {
          const int y = oy * c.stride + tap / c.kernel - c.before, x = ox * c.stride + tap % c.kernel - c.before;
          if (y < 0 || x < 0 || y >= c.h * c.up || x >= c.w * c.up) continue;
          f(static_cast<size_t>((b * c.outH() + oy) * c.outW() + ox), static_cast<size_t>(tap),
            static_cast<size_t>((b * c.h + y / c.up) * c.w + x / c.up));
        }
      }
    }
  }
}

double halfUlp(DType t) { return t == DType::f32 ? 0 : t == DType::f16 ? 1.0 / 2048 : 1.0 / 256; }

// Largest error beyond rounding to the dtype, relative to the largest value.
double errorOf(const std::vector<float>& got, const std::vector<double>& want, DType t) {
  double scale = 1, worst = 0;
  for (double w : want) scale = std::max(scale, std::fabs(w));
  for (size_t i = 0; i < want.size(); i++) {
    const double e = std::fabs(got[i] - want[i]) - halfUlp(t) * std::fabs(want[i]);
    worst = e == e ? std::max(worst, e / scale) : INFINITY;
  }
  return worst;
}

struct Types {
  DType x, w, residual, y;
  bool tf32, hasResidual;
  double tolerance;
};
constexpr DType F32 = DType::f32, F16 = DType::f16, BF16 = DType::bf16;
constexpr Types kTypes[] = {{F32, F32, F32, F32, false, true, 2e-6},    {F32, F32, F32, F32, true, true, 2e-3},
                            {BF16, BF16, F32, BF16, false, true, 1e-5}, {F16, F16, F16, F32, false, true, 1e-5},
                            {BF16, F32, BF16, F16, false, true, 2e-6},  {F32, F16, F32, F32, false, false, 2e-6},
                            {F16, BF16, F32, BF16, true, false, 2e-3},  {BF16, BF16, F32, F32, true, false, 1e-5}};

NsCall callOf(const std::vector<NsTensor>& in, const NsTensor* out, const void* params) {
  return {0, static_cast<int32_t>(in.size()), out ? 1 : 0, in.data(), out, params};
}

void testForward(Device& device, const Conv& c, const Types& t, unsigned seed) {
  using P = op::conv_pack::Params;
  const std::string name = c.name() + "types " + std::to_string(&t - kTypes) + " ";
  const size_t depth = static_cast<size_t>(c.kernel * c.kernel * c.in), taps = static_cast<size_t>(c.kernel * c.kernel);
  Ten x({c.batch, c.h, c.w, c.in}, t.x, seed), w({c.out, c.in, c.kernel, c.kernel}, t.w, seed + 1), bias({c.out}, F32, seed + 2);
  const int winograd = c.kernel == 3 && c.stride == 1 && seed % 2 ? 16 : 0, panels = (c.out + 15) / 16;
  Ten packed(winograd ? std::vector<int64_t>{16, panels, c.in, 16} : std::vector<int64_t>{panels, static_cast<int64_t>(depth), 16}, t.w, 9);
  Ten residual({c.batch, c.outH(), c.outW(), c.out}, t.residual, seed + 3), y(residual.dims, t.y, seed + 4);
  const auto algo = winograd ? op::conv_pack::Algo::winograd2 : op::conv_pack::Algo::direct;
  const P packing{algo, t.w, 0};
  const NsTensor wIn = w.tensor(), packedOut = packed.tensor(), out = y.tensor();
  Status s = ops::conv_pack(device.context(132, t.tf32), callOf({wIn}, &packedOut, &packing), packing);
  check(s.ok(), "conv_pack", name + s.message);
  const op::conv2d::Params p{c.out, c.kernel, c.stride, c.before, c.after, c.up, static_cast<op::conv2d::Algo>(algo), 0.75f, -0.5f, t.y};
  std::vector<NsTensor> in = {x.tensor(), packedOut, bias.tensor(), residual.tensor()};
  if (!t.hasResidual) in[3] = NsTensor{};
  std::vector<double> want(y.v.size());
  for (size_t i = 0; i < want.size(); i++) want[i] = bias.v[i % static_cast<size_t>(c.out)];
  eachPair(c, [&](size_t to, size_t tap, size_t from) {
    for (size_t o = 0; o < static_cast<size_t>(c.out); o++) {
      for (size_t i = 0; i < static_cast<size_t>(c.in); i++) {
        want[to * static_cast<size_t>(c.out) + o] +=
            static_cast<double>(x.v[from * static_cast<size_t>(c.in) + i]) * w.v[(o * static_cast<size_t>(c.in) + i) * taps + tap];
      }
    }
  });
  for (size_t i = 0; i < want.size(); i++) want[i] = 0.75 * want[i] + (t.hasResidual ? -0.5 * residual.v[i] : 0);
  std::vector<float> first;
  for (int sms : {132, 1}) {  // small and large tiles
    s = ops::conv2d(device.context(sms, t.tf32), callOf(in, &out, &p), p);
    check(s.ok() && cudaDeviceSynchronize() == cudaSuccess, "conv2d", name + s.message);
    bool whole = false;
    const std::vector<float> got = y.read(whole);
    const double e = errorOf(got, want, t.y);
    check(whole, "conv2d writes behind y", name);
    check(e <= t.tolerance, "conv2d", name + "error " + std::to_string(e * 1e6) + "e-6");
    if (first.empty()) first = got;
    check(got == first, "conv2d: same bits with every tile", name);
  }
}

void testGradient(Device& device, const Conv& c, const Types& t, unsigned seed) {
  const std::string name = c.name() + "types " + std::to_string(&t - kTypes) + " ";
  const auto in = static_cast<size_t>(c.in), out = static_cast<size_t>(c.out), taps = static_cast<size_t>(c.kernel * c.kernel);
  Ten x({c.batch, c.h, c.w, c.in}, t.x, seed), dy({c.batch, c.outH(), c.outW(), c.out}, t.w, seed + 1);
  Ten dw({c.out, c.in, c.kernel, c.kernel}, F32, seed + 2), dbias({c.out}, F32, seed + 3);
  std::vector<double> want(dw.v.begin(), dw.v.end()), wantBias(dbias.v.begin(), dbias.v.end());
  eachPair(c, [&](size_t to, size_t tap, size_t from) {
    for (size_t o = 0; o < out; o++) {
      for (size_t i = 0; i < in; i++) want[(o * in + i) * taps + tap] += 0.5 * dy.v[to * out + o] * x.v[from * in + i];
    }
  });
  for (size_t i = 0; i < dy.v.size(); i++) wantBias[i % out] += 0.5 * dy.v[i];
  const op::conv2d_grad_w::Params p{c.stride, c.before, c.after, c.up, 0.5f};
  const Context ctx = device.context(132, t.tf32);
  const Status s = ops::conv2d_grad_w(ctx, callOf({x.tensor(), dy.tensor(), dw.tensor(), dbias.tensor()}, nullptr, &p), p);
  check(s.ok() && cudaDeviceSynchronize() == cudaSuccess, "conv2d_grad_w", name + s.message);
  bool whole = false, wholeBias = false;
  const double e = errorOf(dw.read(whole), want, F32), eBias = errorOf(dbias.read(wholeBias), wantBias, F32);
  check(whole && wholeBias, "conv2d_grad_w writes behind its tensors", name);
  check(e <= t.tolerance, "conv2d_grad_w", name + "error " + std::to_string(e * 1e6) + "e-6");
  check(eBias <= 2e-6, "conv2d_grad_w: dbias", name + "error " + std::to_string(eBias * 1e6) + "e-6");
}

void testTransposedPack(Device& device) {
  const int o = 21, i = 18, k = 3;
  Ten w({o, i, k, k}, F32, 5), packed({2, k * k * o, 16}, BF16, 6);
  const op::conv_pack::Params p{op::conv_pack::Algo::direct, BF16, 1};
  const NsTensor in = w.tensor(), to = packed.tensor();
  check(ops::conv_pack(device.context(132, false), callOf({in}, &to, &p), p).ok(), "conv_pack transposed");
  bool whole = false;
  const std::vector<float> got = packed.read(whole);
  int wrong = 0;
  for (int row = 0; row < 32; row++) {
    for (int tap = 0; tap < k * k; tap++) {
      for (int col = 0; col < o; col++) {
        const float want = row < i ? rounded(w.v[static_cast<size_t>((col * i + row) * k * k + k * k - 1 - tap)], BF16) : 0;
        if (got[static_cast<size_t>((row * k * k + tap) * o + col)] != want) wrong++;
      }
    }
  }
  check(whole && wrong == 0, "conv_pack transposed: values", std::to_string(wrong));
}

// Many ranges of pixels, wide tiles of the weight's gradient, and a map whose channels pass the tile.
void testLargeGradients(Device& device) {
  const Conv wide{1, 40, 41, 16, 160, 3, 1, 1, 1, 1}, large{1, 24, 24, 16, 128, 3, 1, 1, 1, 1};
  for (const Types& t : {kTypes[0], kTypes[1], kTypes[2], kTypes[3]}) {
    Types loose = t;
    loose.tolerance *= 3;
    testGradient(device, wide, loose, 71);
    testGradient(device, large, loose, 72);
  }
}

void testRefusals(Device& device) {
  Ten x({1, 4, 4, 8}, F32, 1), packed({1, 72, 16}, F32, 2), y({1, 4, 4, 8}, F32, 3);
  const NsTensor out = y.tensor();
  op::conv2d::Params p{8, 3, 1, 1, 1, 1, op::conv2d::Algo::direct, 1, 1, F32};
  const Context ctx = device.context(132, false);
  check(ops::conv2d(ctx, callOf({x.tensor(), packed.tensor(), NsTensor{}, NsTensor{}}, &out, &p), p).ok(),
        "conv2d without bias and residual");
  p.kernel = 1;
  check(ops::conv2d(ctx, callOf({x.tensor(), packed.tensor(), NsTensor{}, NsTensor{}}, &out, &p), p).code == NS_INVALID,
        "conv2d refuses a pack");
  p.kernel = 0;
  check(ops::conv2d(ctx, callOf({x.tensor(), packed.tensor(), NsTensor{}, NsTensor{}}, &out, &p), p).code == NS_INVALID,
        "conv2d refuses kernel 0");
}

}  // namespace

int main() {
  testDivision();
  testBanks();
  Device device;
  unsigned seed = 1;
  for (const Conv& c : kConvs) {
    for (const Types& t : kTypes) {
      testForward(device, c, t, seed);
      testGradient(device, c, t, seed + 40);
      seed++;
    }
  }
  testTransposedPack(device);
  testLargeGradients(device);
  testRefusals(device);
  return ns::test::finish();
}

// resize_lanczos, image_to_unit, unit_to_image: 8-bit images.
// Floor: Lanczos takes 6 * max(1, scale) multiply-adds per output byte and pass (about 6 per input byte when it shrinks); the others are
// bound by memory, 5 bytes per value.
// Layout: HWC bytes. A warp computes the weights of one output coordinate in f64 and rounds them to fixed point; then a thread takes one
// byte of a pass. Nothing is computed on the host, so a call can be recorded.
// Reference: PIL's 8-bit resampling with LANCZOS (two passes, bytes between them, weights as 22-bit fixed point); torchvision's ToTensor
// followed by x + x - 1.
#include "cuda/common/exact.h"
#include "cuda/common/reduce.h"
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/walk.h"

namespace ns::cuda {
namespace {
constexpr int kFractionBits = 22;
constexpr int64_t kMaxEdge = INT32_MAX / 8;  // so that the number of taps fits an int
constexpr double kRadius = 3.0, kPi = 3.14159265358979323846;

__device__ inline double sinc(double x) { return x == 0.0 ? 1.0 : sin(x * kPi) / (x * kPi); }
__device__ inline double lanczos(double x) { return x >= -kRadius && x < kRadius ? sinc(x) * sinc(x / kRadius) : 0.0; }

// The input samples of an output sample: n of them from `from` on.
struct Span {
  int32_t from, n;
};
// Per output coordinate its span and how much of each sample it takes in 2^-22; `exact` holds the same before rounding.
struct Taps {
  int32_t in, out, stride;
  double scale, support, shrink;
  Span* spans;
  int32_t* weights;
  double* exact;
};

// A warp per output coordinate. The sum runs over the samples in order, as PIL's does, in every lane.
__global__ void tapsKernel(Taps t) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * warps + threadIdx.x / kWarp; i < t.out;
       i += static_cast<int64_t>(gridDim.x) * warps) {
    const double center = product(static_cast<double>(i) + 0.5, t.scale);
    const int first = static_cast<int>(center - t.support + 0.5), last = static_cast<int>(center + t.support + 0.5);
    const int from = first < 0 ? 0 : first, n = (last > t.in ? t.in : last) - from;
    double* w = t.exact + i * t.stride;
    for (int k = lane; k < n; k += kWarp) w[k] = lanczos((k + from - center + 0.5) * t.shrink);
    __syncwarp();
    double sum = 0;
    for (int k = 0; k < n; k++) sum += w[k];
    for (int k = lane; k < n; k += kWarp) {
      const double v = (sum != 0.0 ? w[k] / sum : w[k]) * (1 << kFractionBits);
      t.weights[i * t.stride + k] = static_cast<int32_t>(v < 0 ? v - 0.5 : v + 0.5);
    }
    if (lane == 0) t.spans[i] = {from, n};
  }
}

// One pass: every output byte is a weighted sum of bytes that lie `step` apart. outer x along x inner: the coordinates of the output.
__global__ void passKernel(Taps t, const uint8_t* x, uint8_t* y, Divider inner, Divider along, int64_t n) {
  for (int64_t i = firstItem(); i < n; i += itemStep()) {
    const int64_t line = inner.quotient(i), c = i - line * inner.d, outer = along.quotient(line), at = line - outer * along.d;
    const Span s = t.spans[at];
    const int32_t* w = t.weights + at * t.stride;
    const uint8_t* p = x + (outer * t.in + s.from) * inner.d + c;
    int32_t sum = 1 << (kFractionBits - 1);
#pragma unroll 4
    for (int k = 0; k < s.n; k++) sum += p[k * inner.d] * w[k];
    sum >>= kFractionBits;
    y[i] = static_cast<uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
  }
}

// The bytes [outer, in, inner] become [outer, out, inner].
Status resizeAxis(const Context& ctx, const uint8_t* x, uint8_t* y, int64_t outer, int32_t in, int32_t out, int64_t inner) {
  Taps t{};
  t.in = in;
  t.out = out;
  t.scale = static_cast<double>(in) / out;
  const double stretch = t.scale < 1.0 ? 1.0 : t.scale;
  t.support = kRadius * stretch;
  t.shrink = 1.0 / stretch;
  t.stride = static_cast<int32_t>(ceil(t.support)) * 2 + 1;
  const size_t weights = static_cast<size_t>(out) * static_cast<size_t>(t.stride);
  t.spans = ctx.scratch<Span>(1, static_cast<size_t>(out));
  t.weights = ctx.scratch<int32_t>(2, weights);
  t.exact = ctx.scratch<double>(3, weights);
  const Shape warps{gridFor(ctx, divUp(out, kThreads / kWarp)), dim3(kThreads), 0};
  if (Status s = launch(ctx, tapsKernel, warps, t); !s.ok()) return s;
  const int64_t n = outer * out * inner;
  return launch(ctx, passKernel, itemShape(ctx, n), t, x, y, Divider(inner, n), Divider(out, n), n);
}

template <int N>
__device__ inline void unitAt(const uint8_t* x, float* y, int64_t at) {
  float v[N];
  get<uint8_t>(x, at, v);
#pragma unroll
  for (int j = 0; j < N; j++) {
    v[j] /= 255.0f;
    v[j] = v[j] + v[j] - 1.0f;
  }
  put<float>(y, at, v);
}

__global__ void toUnitKernel(const uint8_t* x, float* y, int64_t packs, int64_t n) {
  for (int64_t i = firstItem(); i < packs; i += itemStep()) unitAt<kWide>(x, y, i * kWide);
  for (int64_t i = packs * kWide + firstItem(); i < n; i += itemStep()) unitAt<1>(x, y, i);
}

template <int N>
__device__ inline void imageAt(const float* x, uint8_t* y, int64_t at) {
  float v[N];
  get<float>(x, at, v);
  Pack<uint8_t, N> pack;
#pragma unroll
  for (int j = 0; j < N; j++) {
    const float s = (v[j] + 1.0f) * 127.5f, low = s > 0.0f ? s : 0.0f;  // NaN fails the comparison
    pack.v[j] = static_cast<uint8_t>(rintf(low > 255.0f ? 255.0f : low));
  }
  storePack<N>(y + at, pack);
}

__global__ void toImageKernel(const float* x, uint8_t* y, int64_t packs, int64_t n) {
  for (int64_t i = firstItem(); i < packs; i += itemStep()) imageAt<kWide>(x, y, i * kWide);
  for (int64_t i = packs * kWide + firstItem(); i < n; i += itemStep()) imageAt<1>(x, y, i);
}
}  // namespace

namespace ops {

Status resize_lanczos(const Context& ctx, const NsCall& call, const op::resize_lanczos::Params& p) {
  const NsTensor& t = call.in[0];
  if (dtype(t) != DType::u8) return failure(NS_UNSUPPORTED, "[resize_lanczos] x is %s, accepted: u8", dtypeName(dtype(t)));
  if (t.dims[0] > kMaxEdge || t.dims[1] > kMaxEdge || t.dims[2] > 64 || count(t) == 0 || p.outH < 1 || p.outW < 1) {
    return failure(NS_UNSUPPORTED, "[resize_lanczos] x is [%lld,%lld,%lld], out is [%d,%d]", static_cast<long long>(t.dims[0]),
                   static_cast<long long>(t.dims[1]), static_cast<long long>(t.dims[2]), p.outH, p.outW);
  }
  const int32_t h = static_cast<int32_t>(t.dims[0]), w = static_cast<int32_t>(t.dims[1]);
  const int64_t C = t.dims[2], row = p.outW * C;
  const uint8_t* x = in<uint8_t>(call, 0);
  uint8_t* y = out<uint8_t>(call, 0);
  if (w != p.outW) {
    uint8_t* wide = h == p.outH ? y : ctx.scratch<uint8_t>(0, static_cast<size_t>(h) * static_cast<size_t>(row));
    if (Status s = resizeAxis(ctx, x, wide, h, w, p.outW, C); !s.ok()) return s;
    x = wide;
  }
  if (h != p.outH) return resizeAxis(ctx, x, y, 1, h, p.outH, row);
  if (w != p.outW) return {};
  return check(cudaMemcpyAsync(y, x, static_cast<size_t>(count(t)), cudaMemcpyDeviceToDevice, ctx.stream), "[resize_lanczos] copy");
}

Status image_to_unit(const Context& ctx, const NsCall& call, const op::image_to_unit::Params&) {
  const NsTensor &x = call.in[0], &y = call.out[0];
  if (dtype(x) != DType::u8) return failure(NS_UNSUPPORTED, "[image_to_unit] x is %s, accepted: u8", dtypeName(dtype(x)));
  const int64_t n = count(x), packs = widePacks(n, aligned16(x.data) && aligned16(y.data));
  return launch(ctx, toUnitKernel, itemShape(ctx, wideItems(n, packs)), in<uint8_t>(call, 0), out<float>(call, 0), packs, n);
}

Status unit_to_image(const Context& ctx, const NsCall& call, const op::unit_to_image::Params&) {
  const NsTensor &x = call.in[0], &y = call.out[0];
  if (dtype(x) != DType::f32) return failure(NS_UNSUPPORTED, "[unit_to_image] x is %s, accepted: f32", dtypeName(dtype(x)));
  const int64_t n = count(x), packs = widePacks(n, aligned16(x.data) && aligned16(y.data));
  return launch(ctx, toImageKernel, itemShape(ctx, wideItems(n, packs)), in<float>(call, 0), out<uint8_t>(call, 0), packs, n);
}

}  // namespace ops
}  // namespace ns::cuda

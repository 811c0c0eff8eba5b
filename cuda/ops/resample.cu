// interpolate (area, bicubic, nearest) and interpolate_grad, its transpose.
// Floor: bound by memory, input and output once; bicubic takes 40 FLOPs and 16 loads from the caches per value. The maps of the quantizer
// (at most 16 x 16 x 32) are bound by the launch.
// Layout: NHWC; a thread takes 4 channels of a pixel. Gradient in gather form: a first kernel writes per input row and column the outputs
// that read it and their weights, the second adds them up in ascending order, so nothing is added concurrently.
// Reference: cuda/kernels/resample.cuh.
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/resample.cuh"
#include "cuda/kernels/walk.h"

namespace ns::cuda {
namespace {

struct Map {
  int64_t h, w, C, outH, outW;
  Divider pixel, columns, rows;  // of the target: packs of a pixel, pixels of a row, rows of an image
};

template <int N>
__device__ inline void areaPixel(const Map& m, const float* x, int64_t i, int64_t j, float (&s)[N]) {
  int64_t y0, y1, x0, x1;
  areaAt(i, m.h, m.outH, &y0, &y1);
  areaAt(j, m.w, m.outW, &x0, &x1);
  for (int64_t r = y0; r < y1; r++) {
#pragma unroll 4
    for (int64_t q = x0; q < x1; q++) {
      float v[N];
      get<float>(x, (r * m.w + q) * m.C, v);
#pragma unroll
      for (int e = 0; e < N; e++) s[e] += v[e];
    }
  }
  const float area = static_cast<float>((y1 - y0) * (x1 - x0));
#pragma unroll
  for (int e = 0; e < N; e++) s[e] /= area;
}

template <int N>
__device__ inline void cubicPixel(const Map& m, const float* x, int64_t i, int64_t j, float (&s)[N]) {
  const Cubic row = cubicAt(i, m.h, m.outH), column = cubicAt(j, m.w, m.outW);
#pragma unroll
  for (int r = 0; r < 4; r++) {
    float t[N] = {};
#pragma unroll
    for (int q = 0; q < 4; q++) {
      float v[N];
      get<float>(x, (row.at[r] * m.w + column.at[q]) * m.C, v);
#pragma unroll
      for (int e = 0; e < N; e++) t[e] = fmaf(v[e], column.weight[q], t[e]);
    }
#pragma unroll
    for (int e = 0; e < N; e++) s[e] = fmaf(t[e], row.weight[r], s[e]);
  }
}

template <int N>
__global__ void interpolateKernel(Resampling mode, Map m, const float* x, float* y, int64_t items) {
  for (int64_t k = firstItem(); k < items; k += itemStep()) {
    const int64_t at = m.pixel.quotient(k), row = m.columns.quotient(at), b = m.rows.quotient(row);
    const int64_t c = (k - at * m.pixel.d) * N, i = row - b * m.outH, j = at - row * m.outW;
    const float* image = x + b * m.h * m.w * m.C + c;
    float s[N] = {};
    if (mode == Resampling::area) areaPixel<N>(m, image, i, j, s);
    if (mode == Resampling::bicubic) cubicPixel<N>(m, image, i, j, s);
    if (mode == Resampling::nearest) get<float>(image, (i * m.h / m.outH * m.w + j * m.w / m.outW) * m.C, s);
    put<float>(y, k * N, s);
  }
}

// The outputs that read one input coordinate: n of them from `first` on.
struct Readers {
  int32_t first, n;
};
// Per input coordinate its readers and their weights, `stride` apart.
struct Side {
  int64_t in, out, stride;
  Readers* readers;
  float* weights;
};

__device__ inline void findReaders(Resampling mode, const Side& s, int64_t i) {
  int64_t from, to;
  readersAround(i, s.in, s.out, reachOf(mode), &from, &to);
  float* weights = s.weights + i * s.stride;
  Readers r{0, 0};
  for (int64_t o = from; o < to; o++) {
    float w;
    if (!takes(mode, i, o, s.in, s.out, &w)) continue;
    if (r.n == 0) r.first = static_cast<int32_t>(o);
    weights[r.n++] = w;
  }
  s.readers[i] = r;
}

__global__ void readersKernel(Resampling mode, Side rows, Side columns) {
  for (int64_t i = firstItem(); i < rows.in + columns.in; i += itemStep()) {
    if (i < rows.in) {
      findReaders(mode, rows, i);
    } else {
      findReaders(mode, columns, i - rows.in);
    }
  }
}

template <int N>
__global__ void gradKernel(Map m, Side rows, Side columns, const float* dy, float* dx, int64_t items) {
  for (int64_t k = firstItem(); k < items; k += itemStep()) {
    const int64_t at = m.pixel.quotient(k), row = m.columns.quotient(at), b = m.rows.quotient(row);
    const int64_t c = (k - at * m.pixel.d) * N, i = row - b * m.h, j = at - row * m.w;
    const Readers ry = rows.readers[i], rx = columns.readers[j];
    const float *wy = rows.weights + i * rows.stride, *wx = columns.weights + j * columns.stride;
    const float* image = dy + b * m.outH * m.outW * m.C + c;
    float s[N] = {};
    for (int32_t r = 0; r < ry.n; r++) {
      float t[N] = {};
#pragma unroll 4
      for (int32_t q = 0; q < rx.n; q++) {
        float v[N];
        get<float>(image, ((ry.first + r) * m.outW + rx.first + q) * m.C, v);
#pragma unroll
        for (int e = 0; e < N; e++) t[e] = fmaf(v[e], wx[q], t[e]);
      }
#pragma unroll
      for (int e = 0; e < N; e++) s[e] = fmaf(t[e], wy[r], s[e]);
    }
    put<float>(dx, k * N, s);
  }
}

// The longest list of readers is that of an inner coordinate.
int64_t strideOf(Resampling mode, int64_t in, int64_t out) { return divUp((2 * reachOf(mode) + 1) * out, in) + 4; }

bool quads(int64_t C, const void* a, const void* b) { return C % 4 == 0 && aligned16(a) && aligned16(b); }
}  // namespace

namespace ops {

Status interpolate(const Context& ctx, const NsCall& call, const op::interpolate::Params& p) {
  const NsTensor& t = call.in[0];
  if (dtype(t) != DType::f32) return failure(NS_UNSUPPORTED, "[interpolate] x is %s, accepted: f32", dtypeName(dtype(t)));
  const int64_t total = count(call.out[0]);
  if (total == 0 || count(t) == 0) return {};
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  const int64_t C = t.dims[3];
  const bool wide = quads(C, x, y);
  const int64_t items = total / (wide ? 4 : 1);
  const Map m{t.dims[1], t.dims[2], C, p.outH, p.outW, Divider(wide ? C / 4 : C, items), Divider(p.outW, items), Divider(p.outH, items)};
  return launch(ctx, wide ? interpolateKernel<4> : interpolateKernel<1>, itemShape(ctx, items), p.mode, m, x, y, items);
}

Status interpolate_grad(const Context& ctx, const NsCall& call, const op::interpolate_grad::Params& p) {
  const NsTensor& t = call.in[0];
  const int64_t outH = t.dims[1], outW = t.dims[2], C = t.dims[3], h = p.h, w = p.w, total = count(call.out[0]);
  if (outH < 1 || outW < 1) return failure(NS_INVALID, "[interpolate_grad] dy has no pixels");
  if (total == 0) return {};
  const auto mode = static_cast<Resampling>(p.mode);
  const float* dy = in<float>(call, 0);
  float* dx = out<float>(call, 0);
  const int64_t sy = strideOf(mode, h, outH), sx = strideOf(mode, w, outW);
  Readers* readers = ctx.scratch<Readers>(0, static_cast<size_t>(h + w));
  float* weights = ctx.scratch<float>(1, static_cast<size_t>(h * sy + w * sx));
  const Side rows{h, outH, sy, readers, weights}, columns{w, outW, sx, readers + h, weights + h * sy};
  if (Status s = launch(ctx, readersKernel, itemShape(ctx, h + w), mode, rows, columns); !s.ok()) return s;
  const bool wide = quads(C, dy, dx);
  const int64_t items = total / (wide ? 4 : 1);
  const Map m{h, w, C, outH, outW, Divider(wide ? C / 4 : C, items), Divider(w, items), Divider(h, items)};
  return launch(ctx, wide ? gradKernel<4> : gradKernel<1>, itemShape(ctx, items), m, rows, columns, dy, dx, items);
}

}  // namespace ops
}  // namespace ns::cuda

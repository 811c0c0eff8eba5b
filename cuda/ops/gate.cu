// gate_residual, gate_residual_grad.
// Floor: bound by memory: in f32 12 bytes per element forward (8 without residual), 12 backward, where x and dy are read once for both
// gradients; in 16 bits half of it.
// Layout: x, dy [B, l, N]; gate [Bg, G, N], row gateAt of it per image. The sums over l run in f64 over blocks of 64 rows (8 threads of a
// column take turns, then join in order); a second kernel adds the blocks up in order.
// Reference: y = residual + gate * x with the two roundings of linear's epilogue, and its gradient.
#include "cuda/common/exact.h"
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/walk.h"

namespace ns::cuda {
namespace {
constexpr int kColumns = 32, kLanes = 8, kRows = 64;

struct Gate {
  const float* rows;
  int64_t stride;  // floats between the rows of two images, 0 for one row
};

Gate gateOf(const NsTensor& t, int32_t at) {
  return {static_cast<const float*>(t.data) + at * t.dims[2], t.dims[0] == 1 ? 0 : t.dims[1] * t.dims[2]};
}

// row: packs of N; image: rows of x.
template <int N>
__global__ void gateKernel(In x, Gate gate, In residual, Out y, Divider row, Divider image, int64_t items) {
  for (int64_t i = firstItem(); i < items; i += itemStep()) {
    const int64_t r = row.quotient(i), c = i - r * row.d;
    float v[N], g[N];
    load(x, i * N, v);
    get<float>(gate.rows, image.quotient(r) * gate.stride + c * N, g);
#pragma unroll
    for (int j = 0; j < N; j++) v[j] = product(v[j], g[j]);
    if (residual.data) {
      load(residual, i * N, g);
#pragma unroll
      for (int j = 0; j < N; j++) v[j] += g[j];
    }
    store(y, i * N, v);
  }
}

struct Grad {
  In x, dy;
  Gate gate;
  Out dx;
  double* parts;  // [B * blocks, N], or null
  int64_t l, N, items;
  Divider groups, blocks;  // groups of columns in a row, blocks of rows in an image
};

// Thread (column, lane): K columns of every eighth row of a block of rows.
template <int K>
__global__ void __launch_bounds__(kColumns* kLanes, 4) gateGradKernel(Grad g) {
  __shared__ double shared[kLanes][kColumns * K];
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  for (int64_t item = blockIdx.x; item < g.items; item += gridDim.x) {
    const int64_t u = g.groups.quotient(item), b = g.blocks.quotient(u), from = (u - b * g.blocks.d) * kRows;
    const int64_t to = from + kRows < g.l ? from + kRows : g.l, c = ((item - u * g.groups.d) * kColumns + tx) * K;
    double sum[K] = {};
    if (c < g.N) {
      float gate[K];
      get<float>(g.gate.rows, b * g.gate.stride + c, gate);
      const int64_t packs = g.N / K, first = b * g.l * packs + c / K;  // a multiple of K: nvcc splits the stores otherwise
#pragma unroll 2
      for (int64_t r = from + ty; r < to; r += kLanes) {
        const int64_t at = (first + r * packs) * K;
        float x[K] = {}, dy[K], dx[K];
        load(g.dy, at, dy);
        if (g.parts) load(g.x, at, x);
#pragma unroll
        for (int j = 0; j < K; j++) dx[j] = dy[j] * gate[j];
        store(g.dx, at, dx);
#pragma unroll
        for (int j = 0; j < K; j++) sum[j] += static_cast<double>(x[j]) * static_cast<double>(dy[j]);
      }
    }
    if (!g.parts) continue;
#pragma unroll
    for (int j = 0; j < K; j++) shared[ty][tx * K + j] = sum[j];
    __syncthreads();
    for (int j = 0; ty == 0 && c < g.N && j < K; j++) {
      double total = 0;
      for (int i = 0; i < kLanes; i++) total += shared[i][tx * K + j];
      g.parts[u * g.N + c + j] = total;
    }
    __syncthreads();
  }
}

// dGate[row] += the partial sums [blocks][N] of its images, in order.
__global__ void gateJoin(const double* parts, int64_t blocks, Divider row, float* dGate, int64_t stride, int64_t items) {
  for (int64_t i = firstItem(); i < items; i += itemStep()) {
    const int64_t r = row.quotient(i), c = i - r * row.d;
    const double* p = parts + r * blocks * row.d + c;
    double total = 0;
#pragma unroll 4
    for (int64_t k = 0; k < blocks; k++) total += p[k * row.d];
    dGate[r * stride + c] += static_cast<float>(total);
  }
}
}  // namespace

namespace ops {

Status gate_residual(const Context& ctx, const NsCall& call, const op::gate_residual::Params& p) {
  using Index = op::gate_residual::in::Index;
  const NsTensor &x = call.in[Index::x], *residual = input(call, Index::residual);
  const int64_t l = x.dims[1], N = x.dims[2];
  if (count(x) == 0) return {};
  const Gate gate = gateOf(call.in[Index::gate], p.gateAt);
  const Out y{call.out[0].data, p.dtype};
  const bool aligned = aligned16(x.data) && aligned16(gate.rows) && aligned16(y.data) && (!residual || aligned16(residual->data));
  const bool wide = N % kWide == 0 && aligned;
  const int64_t perRow = wide ? N / kWide : N, items = count(x) / (wide ? kWide : 1);
  return launch(ctx, wide ? gateKernel<kWide> : gateKernel<1>, itemShape(ctx, items), inOf(x), gate,
                residual ? inOf(*residual) : In{nullptr, DType::f32}, y, Divider(perRow, items), Divider(l, items), items);
}

Status gate_residual_grad(const Context& ctx, const NsCall& call, const op::gate_residual_grad::Params& p) {
  using Index = op::gate_residual_grad::in::Index;
  const NsTensor &x = call.in[Index::x], &dy = call.in[Index::dy], &dx = call.out[0], *dGate = input(call, Index::dGate);
  const int64_t B = x.dims[0], l = x.dims[1], N = x.dims[2], blocks = divUp(l, kRows);
  if (count(x) == 0) return {};
  const Gate gate = gateOf(call.in[Index::gate], p.gateAt);
  double* parts = dGate ? ctx.scratch<double>(0, static_cast<size_t>(B * blocks * N)) : nullptr;
  const bool wide = N % 4 == 0 && aligned16(x.data) && aligned16(dy.data) && aligned16(dx.data) && aligned16(gate.rows);
  const int64_t groups = divUp(N, kColumns * (wide ? 4 : 1)), items = B * blocks * groups;
  const Grad g{inOf(x), inOf(dy), gate, outOf(dx), parts, l, N, items, Divider(groups, items), Divider(blocks, items)};
  const Shape shape{gridFor(ctx, items), dim3(kColumns, kLanes), 0};
  if (Status s = launch(ctx, wide ? gateGradKernel<4> : gateGradKernel<1>, shape, g); !s.ok() || !dGate) return s;
  const int64_t rows = dGate->dims[0], sums = rows * N;
  float* target = static_cast<float*>(dGate->data) + p.gateAt * N;
  return launch(ctx, gateJoin, itemShape(ctx, sums), parts, rows == 1 ? B * blocks : blocks, Divider(N, sums), target, dGate->dims[1] * N,
                sums);
}

}  // namespace ops
}  // namespace ns::cuda

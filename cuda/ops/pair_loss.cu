// pair_loss, pair_loss_grad: mean absolute or squared difference of two tensors.
// Floor: bound by memory: 8 bytes per element forward, 12 backward.
// Layout: contiguous. The sum runs in f64 over pieces of 8192 elements, one block each, which one block joins in a fixed order.
// Reference: F.l1_loss and F.mse_loss with reduction 'mean'.
#include "cuda/common/reduce.h"
#include "cuda/kernels/any.cuh"

namespace ns::cuda {
namespace {
constexpr int64_t kPiece = 8192;

// |x - y| or (x - y)^2 of the difference taken in f64.
__device__ inline double term(bool square, float x, float y) {
  const double d = static_cast<double>(x) - static_cast<double>(y);
  return square ? d * d : fabs(d);
}

template <int N>
__global__ void pairSums(bool square, const float* x, const float* y, int64_t n, int64_t pieces, double* parts) {
  for (int64_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
    const int64_t from = piece * kPiece, to = from + kPiece < n ? from + kPiece : n;
    double s = 0;
    int64_t i = from + static_cast<int64_t>(threadIdx.x) * N;
#pragma unroll 2
    for (; i + N <= to; i += kThreads * N) {
      float u[N], v[N];
      get<float>(x, i, u);
      get<float>(y, i, v);
#pragma unroll
      for (int j = 0; j < N; j++) s += term(square, u[j], v[j]);
    }
    for (int64_t j = i; j < to && j < i + N; j++) s += term(square, x[j], y[j]);  // the last, shorter pack
    s = blockSum(s);
    if (threadIdx.x == 0) parts[piece] = s;
  }
}

__global__ void pairJoin(const double* parts, int64_t pieces, int64_t n, float* loss) {
  double s = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) s += parts[i];
  s = blockSum(s);
  if (threadIdx.x == 0) *loss = static_cast<float>(s / static_cast<double>(n));
}

// dx = factor * sign(x - y) or 2 factor (x - y); d - d is 0 or NaN where the difference is neither above nor below 0.
template <int N>
__device__ inline void pairGradAt(bool square, float f, const float* x, const float* y, float* dx, int64_t at) {
  float u[N], v[N];
  get<float>(x, at, u);
  get<float>(y, at, v);
#pragma unroll
  for (int j = 0; j < N; j++) {
    const float d = u[j] - v[j];
    u[j] = square ? f * d : d > 0.0f ? f : d < 0.0f ? -f : d - d;
  }
  put<float>(dx, at, u);
}

__global__ void pairGrad(bool square, const float* x, const float* y, const float* dLoss, float* dx, int64_t packs, int64_t n) {
  __shared__ float factor;
  if (threadIdx.x == 0) {  // one division in f64 per block: they are slow on most devices
    factor = static_cast<float>(static_cast<double>(*dLoss) / static_cast<double>(n)) * (square ? 2.0f : 1.0f);
  }
  __syncthreads();
  for (int64_t i = firstItem(); i < packs; i += itemStep()) pairGradAt<4>(square, factor, x, y, dx, i * 4);
  for (int64_t i = packs * 4 + firstItem(); i < n; i += itemStep()) pairGradAt<1>(square, factor, x, y, dx, i);
}
}  // namespace

namespace ops {

Status pair_loss(const Context& ctx, const NsCall& call, const op::pair_loss::Params& p) {
  using Index = op::pair_loss::in::Index;
  const float *x = in<float>(call, Index::x), *y = in<float>(call, Index::y);
  const int64_t n = count(call.in[Index::x]), pieces = divUp(n, kPiece);
  double* parts = ctx.scratch<double>(0, static_cast<size_t>(pieces > 0 ? pieces : 1));
  const bool square = p.kind == op::pair_loss::Kind::l2;
  const Shape shape{gridFor(ctx, pieces), dim3(kThreads), 0};
  const auto kernel = aligned16(x) && aligned16(y) ? pairSums<4> : pairSums<1>;
  if (Status s = launch(ctx, kernel, shape, square, x, y, n, pieces, parts); !s.ok()) return s;
  return launch(ctx, pairJoin, {dim3(1), dim3(kThreads), 0}, parts, pieces, n, out<float>(call, 0));
}

Status pair_loss_grad(const Context& ctx, const NsCall& call, const op::pair_loss_grad::Params& p) {
  using Index = op::pair_loss_grad::in::Index;
  const float *x = in<float>(call, Index::x), *y = in<float>(call, Index::y);
  float* dx = out<float>(call, 0);
  const int64_t n = count(call.in[Index::x]), packs = aligned16(x) && aligned16(y) && aligned16(dx) ? n / 4 : 0;
  const bool square = p.kind == op::pair_loss_grad::Kind::l2;
  return launch(ctx, pairGrad, itemShape(ctx, packs + n - packs * 4), square, x, y, in<float>(call, Index::dLoss), dx, packs, n);
}

}  // namespace ops
}  // namespace ns::cuda

// linear_pack: the weight as the GEMM reads it: rows [N16, K] (N16 the next multiple of 16; transpose: [K16, N]), zeros below, narrowed.
// Floor: one read and one write of the weight. Blocks of 32 x 32 through shared memory, so that both sides are read along their rows.
#include <algorithm>

#include "cuda/common/dispatch.h"
#include "cuda/common/launch.h"

namespace ns::cuda {
namespace {

constexpr int kSide = 32, kLines = 8;

// to [outRows, outCols] = w [rows, cols], turned or not; a multiple of the block's side of grid.y covers the rows.
template <class T, class U>
__global__ void packWeight(const T* w, int64_t rows, int64_t cols, U* to, int64_t outRows, int64_t outCols, int turned) {
  __shared__ float tile[kSide][kSide + 1];
  const int lane = static_cast<int>(threadIdx.x), line = static_cast<int>(threadIdx.y);
  const int64_t c0 = blockIdx.x * static_cast<int64_t>(kSide);
  for (int64_t r0 = blockIdx.y * static_cast<int64_t>(kSide); r0 < outRows; r0 += gridDim.y * static_cast<int64_t>(kSide)) {
    for (int i = line; i < kSide; i += kLines) {
      const int64_t r = (turned ? c0 : r0) + i, c = (turned ? r0 : c0) + lane;
      tile[i][lane] = r < rows && c < cols ? toFloat(w[r * cols + c]) : 0.0f;
    }
    __syncthreads();
    for (int i = line; i < kSide; i += kLines) {
      const int64_t r = r0 + i, c = c0 + lane;
      if (r < outRows && c < outCols) to[r * outCols + c] = fromFloat<U>(turned ? tile[lane][i] : tile[i][lane]);
    }
    __syncthreads();
  }
}

}  // namespace

namespace ops {

Status linear_pack(const Context& ctx, const NsCall& call, const op::linear_pack::Params& p) {
  const NsTensor& w = call.in[op::linear_pack::in::w];
  if (w.ndim != 2) return failure(NS_INVALID, "[linear_pack] w has %d dims, needs 2", w.ndim);
  const int64_t rows = w.dims[0], cols = w.dims[1];
  const int64_t outRows = divUp(p.transpose ? cols : rows, 16) * 16, outCols = p.transpose ? rows : cols;
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(divUp(outCols, kSide)), static_cast<unsigned>(std::min<int64_t>(divUp(outRows, kSide), 65535)));
  shape.block = dim3(kSide, kLines);
  return withFloat(dtype(w), [&](auto from) {
    return withFloat(p.dtype, [&](auto to) {
      using T = decltype(from);
      using U = decltype(to);
      return launch(ctx, packWeight<T, U>, shape, static_cast<const T*>(w.data), rows, cols, out<U>(call, 0), outRows, outCols,
                    p.transpose);
    });
  });
}

}  // namespace ops
}  // namespace ns::cuda

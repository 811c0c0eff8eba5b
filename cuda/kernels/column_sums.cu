// Blocks of 32 columns and a part of the rows, eight rows at a time; the order of the sum depends on the shape alone.
#include <algorithm>

#include "cuda/common/dispatch.h"
#include "cuda/common/launch.h"
#include "cuda/common/reduce.h"
#include "cuda/kernels/column_sums.h"

namespace ns::cuda {
namespace {

constexpr int kLines = 8;
constexpr int64_t kShortest = 256, kMostParts = 64;  // addParts walks the parts of a column one after the other

template <class T>
__global__ void sumPart(const T* x, int64_t rows, int64_t n, int64_t perPart, float* partial) {
  __shared__ float sums[kLines][kWarp];
  const int lane = static_cast<int>(threadIdx.x), line = static_cast<int>(threadIdx.y);
  const int64_t col = blockIdx.x * static_cast<int64_t>(kWarp) + lane, begin = blockIdx.y * perPart;
  const int64_t end = begin + perPart < rows ? begin + perPart : rows;
  float sum = 0;
  if (col < n) {
#pragma unroll 4
    for (int64_t r = begin + line; r < end; r += kLines) sum += toFloat(x[r * n + col]);
  }
  sums[line][lane] = sum;
  __syncthreads();
  if (line != 0 || col >= n) return;
  for (int i = 1; i < kLines; i++) sum += sums[i][lane];
  partial[blockIdx.y * n + col] = sum;
}

__global__ void addParts(const float* partial, int parts, int64_t n, float alpha, float* sum) {
  const int64_t col = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (col >= n) return;
  float total = 0;
#pragma unroll 8
  for (int i = 0; i < parts; i++) total += partial[i * n + col];
  sum[col] += alpha * total;
}

}  // namespace

Status addColumnSums(const Context& ctx, const void* x, DType type, int64_t rows, int64_t n, float alpha, float* sum) {
  if (rows == 0 || n == 0) return Status();
  const int64_t perPart = std::max(kShortest, divUp(rows, kMostParts)), parts = divUp(rows, perPart);
  float* partial = ctx.scratch<float>(1, static_cast<size_t>(parts * n));
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(divUp(n, kWarp)), static_cast<unsigned>(parts));
  shape.block = dim3(kWarp, kLines);
  const Status s = withFloat(type, [&](auto tag) {
    using T = decltype(tag);
    return launch(ctx, sumPart<T>, shape, static_cast<const T*>(x), rows, n, perPart, partial);
  });
  if (!s.ok()) return s;
  Shape last;
  last.grid = dim3(static_cast<unsigned>(divUp(n, 128)));
  last.block = dim3(128);
  return launch(ctx, addParts, last, partial, static_cast<int>(parts), n, alpha, sum);
}

}  // namespace ns::cuda

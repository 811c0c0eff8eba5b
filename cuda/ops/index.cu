// embedding, embedding_grad, scatter_rows, bincount.
// Floor: bound by memory: one row read and one written per index (embedding_grad reads two); every row of dTable scans idx once more, 4 V n
// bytes from the caches.
// Layout: tables [V, C], y and dy [..., C]. embedding_grad: a block owns a row of dTable, finds the positions of its index in chunks that
// it keeps in ascending order, and adds their rows one after the other: the order of idx, the same bits each run.
// An index outside is raised and changes nothing but its own row of y, which becomes NaN.
// Reference: torch.nn.functional.embedding and its gradient, Tensor.index_copy_, torch.bincount.
#include "cuda/common/reduce.h"
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/walk.h"

namespace ns::cuda {
namespace {
constexpr int kAhead = 8;                  // indices per thread and chunk
constexpr int kChunk = kThreads * kAhead;  // positions that a block looks at together
constexpr int kMaxWarps = kThreads / kWarp;

__device__ inline bool inside(int32_t v, int64_t limit) { return v >= 0 && v < limit; }

struct Raise {
  DeviceError* error;
  int32_t op;
  __device__ void operator()(int64_t at, int32_t value) const { raise(error, op, NS_INDEX, at, value); }
};

template <int N>
__global__ void embeddingKernel(In table, const int32_t* idx, float* y, int64_t V, Divider row, int64_t items, Raise wrong) {
  for (int64_t i = firstItem(); i < items; i += itemStep()) {
    const int64_t r = row.quotient(i), c = i - r * row.d;
    const int32_t index = idx[r];
    float v[N];
    if (inside(index, V)) {
      load(table, (index * row.d + c) * N, v);
    } else {
      if (c == 0) wrong(r, index);
#pragma unroll
      for (int j = 0; j < N; j++) v[j] = NAN;
    }
    put<float>(y, i * N, v);
  }
}

// Appends the positions of `row` in idx[from, from + kChunk) to `list`, ascending; gives their number. Thread t looks at kAhead neighbours.
__device__ inline int findRow(const int32_t* idx, int64_t from, int64_t n, int64_t row, int64_t* list, int* counts) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t first = from + static_cast<int64_t>(threadIdx.x) * kAhead;
  unsigned hits = 0;
#pragma unroll
  for (int j = 0; j < kAhead; j++) {
    if (first + j < n && idx[first + j] == row) hits |= 1u << j;
  }
  const int own = __popc(hits);
  int before = own;  // inclusive sum over the warp
  for (int step = 1; step < kWarp; step *= 2) {
    const int other = __shfl_up_sync(kAllLanes, before, step);
    if (lane >= step) before += other;
  }
  if (lane == kWarp - 1) counts[warp] = before;
  __syncthreads();
  int slot = before - own, total = 0;
  for (int w = 0; w < kMaxWarps; w++) {
    if (w < warp) slot += counts[w];
    total += counts[w];
  }
  for (int j = 0; j < kAhead; j++) {
    if (hits >> j & 1u) list[slot++] = first + j;
  }
  __syncthreads();
  return total;
}

template <int N>
__global__ void embeddingGradKernel(const int32_t* idx, const float* dy, float* table, int64_t n, int64_t V, int64_t C, Raise wrong) {
  __shared__ int64_t list[kChunk];
  __shared__ int counts[kMaxWarps];
  for (int64_t i = firstItem(); i < n; i += itemStep()) {
    if (!inside(idx[i], V)) wrong(i, idx[i]);
  }
  for (int64_t row = blockIdx.x; row < V; row += gridDim.x) {
    for (int64_t from = 0; from < n; from += kChunk) {
      const int found = findRow(idx, from, n, row, list, counts);
      for (int64_t c = static_cast<int64_t>(threadIdx.x) * N; found && c < C; c += kThreads * N) {
        float s[N];
        get<float>(table, row * C + c, s);
#pragma unroll 4
        for (int i = 0; i < found; i++) {
          float v[N];
          get<float>(dy, list[i] * C + c, v);
#pragma unroll
          for (int j = 0; j < N; j++) s[j] += v[j];
        }
        put<float>(table, row * C + c, s);
      }
      __syncthreads();  // the next chunk writes list again
    }
  }
}

// The last position of every row that occurs.
__global__ void lastKernel(const int32_t* idx, int64_t n, int64_t V, int32_t* last, Raise wrong) {
  for (int64_t i = firstItem(); i < n; i += itemStep()) {
    if (inside(idx[i], V)) {
      atomicMax(&last[idx[i]], static_cast<int32_t>(i));
    } else {
      wrong(i, idx[i]);
    }
  }
}

template <int N>
__global__ void scatterKernel(const float* src, const int32_t* idx, const int32_t* last, float* dst, int64_t V, Divider row,
                              int64_t items) {
  for (int64_t i = firstItem(); i < items; i += itemStep()) {
    const int64_t r = row.quotient(i), c = i - r * row.d;
    const int32_t index = idx[r];
    if (!inside(index, V) || last[index] != r) continue;
    float v[N];
    get<float>(src, i * N, v);
    put<float>(dst, (index * row.d + c) * N, v);
  }
}

__global__ void countKernel(const int32_t* idx, int64_t n, int64_t limit, uint32_t* counts, Raise wrong) {
  for (int64_t i = firstItem(); i < n; i += itemStep()) {
    if (inside(idx[i], limit)) {
      atomicAdd(&counts[idx[i]], 1u);
    } else {
      wrong(i, idx[i]);
    }
  }
}

// Counts become floats in their own place: y is counts.
__global__ void countsToFloat(const uint32_t* counts, float* y, int64_t n) {
  for (int64_t i = firstItem(); i < n; i += itemStep()) y[i] = static_cast<float>(counts[i]);
}

bool quads(int64_t C, const void* a, const void* b) { return C % 4 == 0 && aligned16(a) && aligned16(b); }
}  // namespace

namespace ops {

Status embedding(const Context& ctx, const NsCall& call, const op::embedding::Params&) {
  const NsTensor& table = call.in[0];
  const int64_t V = table.dims[0], C = table.dims[1], n = count(call.in[1]);
  if (n * C == 0) return {};
  const bool wide = quads(C, table.data, call.out[0].data);
  const int64_t perRow = wide ? C / 4 : C, items = n * perRow;
  const Divider row(perRow, items);
  const Raise wrong{ctx.error, ctx.op};
  return launch(ctx, wide ? embeddingKernel<4> : embeddingKernel<1>, itemShape(ctx, items), inOf(table), in<int32_t>(call, 1),
                out<float>(call, 0), V, row, items, wrong);
}

Status embedding_grad(const Context& ctx, const NsCall& call, const op::embedding_grad::Params&) {
  using Index = op::embedding_grad::in::Index;
  const NsTensor &dy = call.in[Index::dy], &table = call.in[Index::dTable];
  const int64_t n = count(call.in[Index::idx]), V = table.dims[0], C = table.dims[1];
  if (n == 0) return {};
  const Shape shape{gridFor(ctx, V > 0 ? V : 1), dim3(kThreads), 0};
  const Raise wrong{ctx.error, ctx.op};
  return launch(ctx, quads(C, dy.data, table.data) ? embeddingGradKernel<4> : embeddingGradKernel<1>, shape, in<int32_t>(call, Index::idx),
                in<float>(call, Index::dy), mut<float>(call, Index::dTable), n, V, C, wrong);
}

Status scatter_rows(const Context& ctx, const NsCall& call, const op::scatter_rows::Params&) {
  using Index = op::scatter_rows::in::Index;
  const int64_t n = count(call.in[Index::idx]), V = call.in[Index::dst].dims[0], C = call.in[Index::dst].dims[1];
  if (n == 0) return {};
  if (n > INT32_MAX) return failure(NS_UNSUPPORTED, "[scatter_rows] idx has %lld entries", static_cast<long long>(n));
  const int32_t* idx = in<int32_t>(call, Index::idx);
  int32_t* last = ctx.scratch<int32_t>(0, static_cast<size_t>(V > 0 ? V : 1));
  if (Status s = check(cudaMemsetAsync(last, 0, static_cast<size_t>(V) * sizeof(int32_t), ctx.stream), "[scatter_rows] zeros"); !s.ok()) {
    return s;
  }
  if (Status s = launch(ctx, lastKernel, itemShape(ctx, n), idx, n, V, last, Raise{ctx.error, ctx.op}); !s.ok() || C == 0) return s;
  const float* src = in<float>(call, Index::src);
  float* dst = mut<float>(call, Index::dst);
  const bool wide = quads(C, src, dst);
  const int64_t perRow = wide ? C / 4 : C, items = n * perRow;
  return launch(ctx, wide ? scatterKernel<4> : scatterKernel<1>, itemShape(ctx, items), src, idx, last, dst, V, Divider(perRow, items),
                items);
}

Status bincount(const Context& ctx, const NsCall& call, const op::bincount::Params& p) {
  uint32_t* counts = out<uint32_t>(call, 0);
  const int64_t n = count(call.in[0]);
  const auto bytes = static_cast<size_t>(p.n) * sizeof(uint32_t);
  if (p.n == 0) return {};
  if (Status s = check(cudaMemsetAsync(counts, 0, bytes, ctx.stream), "[bincount] zeros"); !s.ok()) return s;
  const Raise wrong{ctx.error, ctx.op};
  if (Status s = launch(ctx, countKernel, itemShape(ctx, n), in<int32_t>(call, 0), n, p.n, counts, wrong); !s.ok()) return s;
  return launch(ctx, countsToFloat, itemShape(ctx, p.n), counts, out<float>(call, 0), p.n);
}

}  // namespace ops
}  // namespace ns::cuda

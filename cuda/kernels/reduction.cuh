// Sums, maxima and first maxima over parts of a tensor, in a fixed order.
// The values of one output are cut into segments whose length depends on nothing but their number, so an output has the same bits in any
// batch. A segment is a warp's or a block's (runs: neighbours are summed) or a column of threads' (columns: neighbours are kept); where
// there is more than one, a second kernel joins their results.
#pragma once
#include "cuda/common/reduce.h"
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/walk.h"

namespace ns::cuda {

// An operation has a State, none(), add(state, value, position), join (commutative) and finish, which writes an output.
struct SumOf {
  using State = double;
  double divisor = 1;
  __device__ State none() const { return 0; }
  __device__ State add(State s, float v, int64_t) const { return s + static_cast<double>(v); }
  __device__ State join(State a, State b) const { return a + b; }
  __device__ void finish(const Out& y, int64_t at, State s) const {
    const float v[1] = {static_cast<float>(divisor == 1 ? s : s / divisor)};
    store(y, at, v);
  }
};

// A NaN wins; sign -1 finds the smallest.
struct MaxOf {
  using State = float;
  float sign = 1;
  __device__ State none() const { return -INFINITY; }
  __device__ State add(State s, float v, int64_t) const { return join(s, v * sign); }
  __device__ State join(State a, State b) const { return Max()(a, b); }
  __device__ void finish(const Out& y, int64_t at, State s) const { static_cast<float*>(y.data)[at] = s * sign; }
};

// The first maximum, or the first NaN.
struct Best {
  float v;
  int32_t at;
};
struct ArgmaxOf {
  using State = Best;
  __device__ State none() const { return {-INFINITY, INT32_MAX}; }
  __device__ State add(State s, float v, int64_t at) const { return join(s, {v, static_cast<int32_t>(at)}); }
  __device__ State join(State a, State b) const {
    const bool an = a.v != a.v, bn = b.v != b.v;
    if (an != bn) return an ? a : b;
    if (!an && a.v != b.v) return a.v > b.v ? a : b;
    return a.at < b.at ? a : b;
  }
  __device__ void finish(const Out& y, int64_t at, State s) const { static_cast<int32_t*>(y.data)[at] = s.at; }
};

template <class S>
__device__ inline S shuffleXor(S v, int lane) {
  unsigned words[sizeof(S) / 4];
  memcpy(words, &v, sizeof(S));
  for (unsigned& w : words) w = __shfl_xor_sync(kAllLanes, w, lane);
  memcpy(&v, words, sizeof(S));
  return v;
}

// Over 32 threads, or over the kThreads of a block.
template <int kGroup, class Op>
__device__ inline typename Op::State joinGroup(const Op& op, typename Op::State v) {
  for (int lane = kWarp / 2; lane > 0; lane /= 2) v = op.join(v, shuffleXor(v, lane));
  if constexpr (kGroup > kWarp) {
    __shared__ typename Op::State partial[kGroup / kWarp];
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = v;
    __syncthreads();
    v = partial[0];
    for (int i = 1; i < kGroup / kWarp; i++) v = op.join(v, partial[i]);
    __syncthreads();  // the next call writes partial again
  }
  return v;
}

// Where the values of output o lie: at kept(o) + repeated(r) + c, c < run. In columns o runs over the kept run too.
struct Gather {
  Divider run;
  Walk kept, repeated;
  int64_t outputs = 1, values = 1;  // values: of one output (runs), rows of the repeated dims (columns)
};

struct Cut {
  int64_t length;     // values or rows of a segment
  Divider segments;   // their number
  int64_t items = 0;  // groups of outputs times segments
};

constexpr int64_t kRunSegment = 8192, kColumnSegment = 256;

// Neighbours are summed: a group of threads per output and segment.
template <int kGroup, class Op>
__global__ void reduceRuns(Op op, In x, Gather g, Cut cut, typename Op::State* parts, Out y) {
  const int lane = static_cast<int>(threadIdx.x) % kGroup;
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kThreads / kGroup);
  for (int64_t item = static_cast<int64_t>(blockIdx.x) * (kThreads / kGroup) + threadIdx.x / kGroup; item < cut.items; item += step) {
    const int64_t o = cut.segments.quotient(item), s = item - o * cut.segments.d, from = s * cut.length;
    const int64_t to = from + cut.length < g.values ? from + cut.length : g.values;
    int64_t base, unused;
    g.kept.at(o, &base, &unused);
    typename Op::State v = op.none();
#pragma unroll 4
    for (int64_t p = from + lane; p < to; p += kGroup) {
      int64_t at = p;
      if (g.repeated.k) {
        const int64_t r = g.run.quotient(p);
        g.repeated.at(r, &at, &unused);
        at += p - r * g.run.d;
      }
      float value[1];
      load(x, base + at, value);
      v = op.add(v, value[0], p);
    }
    v = joinGroup<kGroup>(op, v);
    if (lane != 0) continue;
    if (parts) {
      parts[item] = v;
    } else {
      op.finish(y, o, v);
    }
  }
}

// Neighbours are kept: `lanes` threads take turns on the rows of the same N columns.
template <int N, class Op>
__global__ void reduceColumns(Op op, In x, Gather g, Cut cut, int lanes, typename Op::State* parts, Out y) {
  using State = typename Op::State;
  __shared__ State shared[kThreads * N];
  const int width = kThreads / lanes, column = static_cast<int>(threadIdx.x) % width, lane = static_cast<int>(threadIdx.x) / width;
  for (int64_t item = blockIdx.x; item < cut.items; item += gridDim.x) {
    const int64_t group = cut.segments.quotient(item), s = item - group * cut.segments.d, from = s * cut.length;
    const int64_t to = from + cut.length < g.values ? from + cut.length : g.values, o = (group * width + column) * N;
    State v[N];
#pragma unroll
    for (int j = 0; j < N; j++) v[j] = op.none();
    if (o < g.outputs) {
      const int64_t k = g.run.quotient(o);
      int64_t base, at, unused;
      g.kept.at(k, &base, &unused);
      base += o - k * g.run.d;
#pragma unroll 2
      for (int64_t r = from + lane; r < to; r += lanes) {
        g.repeated.at(r, &at, &unused);
        float value[N];
        load(x, base + at, value);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = op.add(v[j], value[j], r);
      }
    }
    if (lanes > 1) {
#pragma unroll
      for (int j = 0; j < N; j++) shared[static_cast<int>(threadIdx.x) * N + j] = v[j];
      __syncthreads();
      for (int i = 1; lane == 0 && i < lanes; i++) {
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = op.join(v[j], shared[(i * width + column) * N + j]);
      }
      __syncthreads();
    }
    if (lane != 0 || o >= g.outputs) continue;
#pragma unroll
    for (int j = 0; j < N; j++) {
      if (parts) {
        parts[s * g.outputs + o + j] = v[j];
      } else {
        op.finish(y, o + j, v[j]);
      }
    }
  }
}

// A warp per output: its segments lie segmentStep apart.
template <class Op>
__global__ void joinSegments(Op op, const typename Op::State* parts, int64_t outputs, int64_t segments, int64_t outputStep,
                             int64_t segmentStep, Out y) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kThreads / kWarp);
  for (int64_t o = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp; o < outputs; o += step) {
    typename Op::State v = op.none();
    for (int64_t s = lane; s < segments; s += kWarp) v = op.join(v, parts[o * outputStep + s * segmentStep]);
    v = joinGroup<kWarp>(op, v);
    if (lane == 0) op.finish(y, o, v);
  }
}

template <class Op>
Status joinAll(const Context& ctx, const Op& op, const typename Op::State* parts, int64_t outputs, int64_t segments, int64_t outputStep,
               int64_t segmentStep, const Out& y) {
  const Shape shape{gridFor(ctx, divUp(outputs, kThreads / kWarp)), dim3(kThreads), 0};
  return launch(ctx, joinSegments<Op>, shape, op, parts, outputs, segments, outputStep, segmentStep, y);
}

template <class Op>
Status runs(const Context& ctx, const Op& op, const In& x, const Gather& g, const Out& y) {
  const int64_t segments = divUp(g.values, kRunSegment), items = g.outputs * segments;
  typename Op::State* parts = segments > 1 ? ctx.scratch<typename Op::State>(0, static_cast<size_t>(items)) : nullptr;
  const Cut cut{kRunSegment, Divider(segments, items), items};
  const bool small = g.values <= 1024;
  const Shape shape{gridFor(ctx, small ? divUp(items, kThreads / kWarp) : items), dim3(kThreads), 0};
  const auto kernel = small ? reduceRuns<kWarp, Op> : reduceRuns<kThreads, Op>;
  if (Status s = launch(ctx, kernel, shape, op, x, g, cut, parts, y); !s.ok() || !parts) return s;
  return joinAll(ctx, op, parts, g.outputs, segments, segments, 1, y);
}

template <int N, class Op>
Status columns(const Context& ctx, const Op& op, const In& x, const Gather& g, const Out& y) {
  const int lanes = g.values >= 32 ? 8 : 1;
  const int64_t segments = divUp(g.values, kColumnSegment), items = divUp(g.outputs, static_cast<int64_t>(kThreads / lanes) * N) * segments;
  typename Op::State* parts = segments > 1 ? ctx.scratch<typename Op::State>(0, static_cast<size_t>(segments * g.outputs)) : nullptr;
  const Cut cut{kColumnSegment, Divider(segments, items), items};
  const Shape shape{gridFor(ctx, items), dim3(kThreads), 0};
  if (Status s = launch(ctx, reduceColumns<N, Op>, shape, op, x, g, cut, lanes, parts, y); !s.ok() || !parts) return s;
  return joinAll(ctx, op, parts, g.outputs, segments, 1, g.outputs, y);
}

}  // namespace ns::cuda

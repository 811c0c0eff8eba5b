// grad_stats: per segment of a flat gradient the sum of squares of its finite elements and the number of the others.
// Floor: bytes, one read of the gradient. Blocks of 8192 elements lie on the flat range, whatever the segments are: the offsets are known
// to the device only. The piece of segment s in block b has the number b + s, unique and ascending, and a second kernel joins the pieces
// of each segment. Sums in f64 in a fixed order.
// Reference: torch.nn.utils.clip_grad_norm_, torch.amp.GradScaler.
#include <cmath>

#include "cuda/common/launch.h"
#include "cuda/common/reduce.h"
#include "cuda/ops/quad.h"

namespace ns::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAhead = 4;  // quads a thread has in flight
constexpr int64_t kChunk = 8192;

struct Piece {
  double sum;
  int64_t bad;
};

// The last s in [0, segments) with offsets[s] <= at, or 0.
__device__ inline int64_t segmentAt(const int32_t* offsets, int64_t segments, int64_t at) {
  int64_t low = 0, high = segments;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] <= at) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Elements [from, to) of this block.
__device__ inline Piece squares(const Floats& g, int64_t n, int64_t from, int64_t to) {
  Piece p{0.0, 0};
  for (int64_t at = from / kQuad * kQuad + threadIdx.x * kQuad; at < to; at += kThreads * kQuad * kAhead) {
    float v[kAhead][kQuad];
    const auto place = [&](int k) { return at + k * kThreads * kQuad; };
    readQuads<kAhead>(
        g, place, [&](int k) { return place(k) < to ? n - place(k) : 0; }, 0.0f, v);
    for (int k = 0; k < kAhead; k++) {
      for (int e = 0; e < kQuad; e++) {
        const bool own = place(k) + e >= from && place(k) + e < to;
        const bool finite = fabsf(v[k][e]) < INFINITY;
        const double w = own && finite ? static_cast<double>(v[k][e]) : 0.0;
        p.sum = fma(w, w, p.sum);
        p.bad += own && !finite;
      }
    }
  }
  return {blockSum(p.sum), blockSum(p.bad)};
}

__global__ void statsPieces(Floats g, int64_t n, const int32_t* offsets, int64_t segments, Piece* pieces) {
  const int64_t begin = blockIdx.x * kChunk, end = begin + kChunk < n ? begin + kChunk : n;
  if (end % kQuad != 0) g.quads = false;  // the last quad is no whole one
  for (int64_t s = segmentAt(offsets, segments, begin); s < segments && offsets[s] < end; s++) {
    const int64_t from = offsets[s] > begin ? offsets[s] : begin, to = offsets[s + 1] < end ? offsets[s + 1] : end;
    if (from >= to) continue;
    const Piece p = squares(g, n, from, to);
    if (threadIdx.x == 0) pieces[blockIdx.x + s] = p;
  }
}

__global__ void joinPieces(const Piece* pieces, int64_t n, const int32_t* offsets, float* stats, DeviceError* error, int32_t op) {
  const int64_t s = blockIdx.x, from = offsets[s], to = offsets[s + 1], least = s ? offsets[s - 1] : 0;
  const bool low = from < least || from > n, high = to < from || to > n;
  Piece p{0.0, 0};
  if (from < to && !low && !high) {
    for (int64_t b = from / kChunk + threadIdx.x; b <= (to - 1) / kChunk; b += kThreads) {
      p.sum += pieces[b + s].sum;
      p.bad += pieces[b + s].bad;
    }
  }
  p = {blockSum(p.sum), blockSum(p.bad)};
  if (threadIdx.x != 0) return;
  if (low || high) raise(error, op, NS_INDEX, low ? s : s + 1, low ? from : to);
  stats[2 * s] = low || high ? NAN : static_cast<float>(p.sum);
  stats[2 * s + 1] = low || high ? NAN : static_cast<float>(p.bad);
}

}  // namespace

namespace ops {

Status grad_stats(const Context& ctx, const NsCall& call, const op::grad_stats::Params&) {
  namespace I = op::grad_stats::in;
  const int64_t n = count(call.in[I::g]), segments = count(call.in[I::offsets]) - 1, blocks = divUp(n, kChunk);
  const int32_t* offsets = in<int32_t>(call, I::offsets);
  Piece* pieces = ctx.scratch<Piece>(0, static_cast<size_t>(blocks + segments));
  const Floats g = floats(call.in[I::g], kQuad);
  const Shape shape{dim3(static_cast<unsigned>(blocks)), dim3(kThreads)};
  if (Status s = launch(ctx, statsPieces, shape, g, n, offsets, segments, pieces); !s.ok()) return s;
  return launch(ctx, joinPieces, {dim3(static_cast<unsigned>(segments)), dim3(kThreads)}, pieces, n, offsets, out<float>(call, 0),
                ctx.error, ctx.op);
}

}  // namespace ops
}  // namespace ns::cuda

// What both passes of attention_grad read, and the small kernels around them:
// gradRows: per query dot = y . dy and the length of q (bytes: y, dy and q once). tileSeen: the most keys that any of 64 queries sees.
// projectRows: from the gradient of a normalised row to that of the row (f32 path). addScale: the gradient of scaleMul, summed over images
// and queries in a fixed order in f64. Floor: bytes, each row once.
#pragma once
#include "cuda/kernels/attention.cuh"

namespace ns::cuda::att {

constexpr int kGradTile = 64;  // queries and keys

struct Backward {
  Shape s;
  Rows q, k, v, dy;      // k normalised where scaleMul is given
  Rows dq, dk, dv;       // of dqkv; in the f32 path with scaleMul dq and dk are scratch: gradients of the normalised rows
  const float* lse;      // this and the next: [B,H,l]
  const float* dot;      // y . dy
  const float* qLength;  // null without scaleMul
  const float* kLength;  // null without scaleMul
  float* rowScale;       // each query's part of the gradient of scaleMul, or null
  const int32_t* most;   // per tile of queries, null: all keys
  bool vector;
};

struct GradRows {
  Shape s;
  Rows q, y, dy;
  float *dot, *length;  // length: null without scaleMul
  bool vector;
};

// A group of lanes per row, as place has it.
static __global__ void gradRows(GradRows a) {
  const Shape& s = a.s;
  const int lanes = lanesPerRow(s.width), first = static_cast<int>(threadIdx.x) % lanes * kPlaceGroup;
  const int64_t index = ownRow(lanes);
  const auto [b, i, h] = rowIndex(index, s.l, s.heads);
  const bool real = b < s.batch;
  float dot = 0.0f, sum = 0.0f, x[kPlaceGroup], y[kPlaceGroup];
  for (int c = first; real && c < s.width; c += lanes * kPlaceGroup) {
    loadSome(a.y.data, a.y.type, rowsAt(a.y, b, h, i) + c, s.width - c, a.vector, x);
    loadSome(a.dy.data, a.dy.type, rowsAt(a.dy, b, h, i) + c, s.width - c, a.vector, y);
    for (int e = 0; e < kPlaceGroup; e++) dot = fmaf(x[e], y[e], dot);
    if (!a.length) continue;
    loadSome(a.q.data, a.q.type, rowsAt(a.q, b, h, i) + c, s.width - c, a.vector, x);
    for (float v : x) sum = fmaf(v, v, sum);
  }
  dot = sumOverLanes(dot, lanes);
  sum = sqrtf(sumOverLanes(sum, lanes));
  if (!real || first != 0) return;
  const int64_t at = (static_cast<int64_t>(b) * s.heads + h) * s.l + i;
  a.dot[at] = dot;
  if (a.length) a.length[at] = sum < kLeastNorm ? kLeastNorm : sum;
}

static __global__ void tileSeen(Shape s, int32_t* most, DeviceError* error, int32_t op) {
  const int i = static_cast<int>(blockIdx.x) * kGradTile + static_cast<int>(threadIdx.x);
  int seen = 1;
  if (i < s.l && !keysSeen(s, i, seen)) raise(error, op, NS_INDEX, i, s.visible[i]);
  seen = blockMax(seen);
  if (threadIdx.x == 0) most[blockIdx.x] = seen;
}

// What a query gives each of its scores. A query that does not exist sees no key.
struct alignas(16) Query {
  float factor;  // on q . k, in units of log 2
  float lse;     // in units of log 2
  float dot;
  int seen;
};
__device__ inline Query loadQuery(const Query* q) {
  const Pack<float, 4> p = loadPack<4>(&q->factor);  // one access; the compiler makes four of different types
  return {p.v[0], p.v[1], p.v[2], __float_as_int(p.v[3])};
}

__device__ inline Query queryOf(const Backward& a, int64_t head, int i) {
  Query r = {0.0f, 0.0f, 0.0f, 0};
  if (i >= a.s.l) return r;
  const int64_t at = head * a.s.l + i;
  r.factor = headFactor(a.s, static_cast<int>(head % a.s.heads)) * kLog2e;
  if (a.qLength) r.factor = r.factor / a.qLength[at];
  r.lse = a.lse[at] * kLog2e;
  r.dot = a.dot[at];
  keysSeen(a.s, i, r.seen);
  return r;
}

// A score and the gradient of its probability to the probability and the gradient of the score.
__device__ inline void ofScore(float& s, float& dp, const Query& r, int j) {
  const bool seen = j < r.seen;
  s = seen ? exp2f(fmaf(s, r.factor, -r.lse)) : 0.0f;
  dp = seen ? s * (dp - r.dot) : 0.0f;
}

// The first tile of queries from `tile` on that sees key j0; the number of tiles where none does.
__device__ inline int nextTile(const Backward& a, int tile, int tiles, int j0) {
  while (a.most && tile < tiles && a.most[tile] <= j0) tile++;
  return tile;
}

struct Project {
  Shape s;
  Rows x[2], g[2], dx[2];  // queries, keys; grid.y of them
  float* rowScale;         // or null
  bool vector;
};

// dx = (g - u (u . g)) / |x| with u = x / |x|, F.normalize's least length included.
static __global__ void projectRows(Project a) {
  const Shape& s = a.s;
  const int part = static_cast<int>(blockIdx.y), lanes = lanesPerRow(s.width);
  const Rows &x = a.x[part], &g = a.g[part], &dx = a.dx[part];
  const int first = static_cast<int>(threadIdx.x) % lanes * kPlaceGroup;
  const int64_t index = ownRow(lanes);
  const auto [b, i, h] = rowIndex(index, s.l, s.heads);
  const bool real = b < s.batch;
  float sum = 0.0f, dot = 0.0f, u[kPlaceGroup], v[kPlaceGroup];
  for (int c = first; real && c < s.width; c += lanes * kPlaceGroup) {
    loadSome(x.data, x.type, rowsAt(x, b, h, i) + c, s.width - c, a.vector, u);
    loadSome(g.data, g.type, rowsAt(g, b, h, i) + c, s.width - c, a.vector, v);
    for (int e = 0; e < kPlaceGroup; e++) {
      sum = fmaf(u[e], u[e], sum);
      dot = fmaf(u[e], v[e], dot);
    }
  }
  sum = sqrtf(sumOverLanes(sum, lanes));
  const float length = sum < kLeastNorm ? kLeastNorm : sum;
  dot = sumOverLanes(dot, lanes) / length;
  if (!real) return;
  if (part == 0 && a.rowScale && first == 0) a.rowScale[(static_cast<int64_t>(b) * s.heads + h) * s.l + i] = dot;
  const float along = length > kLeastNorm ? dot : 0.0f;
  for (int c = first; c < s.width; c += lanes * kPlaceGroup) {
    loadSome(x.data, x.type, rowsAt(x, b, h, i) + c, s.width - c, a.vector, u);
    loadSome(g.data, g.type, rowsAt(g, b, h, i) + c, s.width - c, a.vector, v);
    for (int e = 0; e < kPlaceGroup; e++) v[e] = fmaf(-(u[e] / length), along, v[e]) / length;
    storeSome(dx.data, dx.type, rowsAt(dx, b, h, i) + c, s.width - c, a.vector, v);
  }
}

constexpr int kScaleThreads = 1024;

// A block per head. A clamped scale has no gradient.
static __global__ void __launch_bounds__(kScaleThreads) addScale(Shape s, const float* rowScale, float* dScaleMul) {
  const auto h = static_cast<int>(blockIdx.x);
  const int64_t rows = static_cast<int64_t>(s.batch) * s.l;
  double sum = 0.0;
#pragma unroll 4
  for (int64_t at = threadIdx.x; at < rows; at += kScaleThreads) {
    const RowIndex r = rowIndex(at, s.l, 1);
    sum += static_cast<double>(rowScale[(static_cast<int64_t>(r.b) * s.heads + h) * s.l + r.i]);
  }
  sum = blockSum(sum);
  if (threadIdx.x == 0 && s.scaleMul[h] <= s.maxScaleMul) dScaleMul[h] = static_cast<float>(static_cast<double>(dScaleMul[h]) + sum);
}

}  // namespace ns::cuda::att

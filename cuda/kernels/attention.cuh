// What the kernels of attention and attention_grad share: shape, rows in memory, and the pass that normalises and places keys.
// place: rows of k (l2-normalised where asked) and v from one layout and dtype to another: into the caches, or into scratch.
// Floor of place: bytes, each row read and written once. Layout: qkv [B,l,3,H,c], caches [B,H,Lmax,c].
#pragma once
#include "cuda/common/error.h"
#include "cuda/common/half.h"
#include "cuda/common/launch.h"
#include "cuda/common/reduce.h"
#include "cuda/common/vec.h"

namespace ns::cuda::att {

constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.69314718055994531f;
constexpr float kLeastNorm = 1e-12f;  // as F.normalize takes it

struct Shape {
  int32_t batch, l, heads, width;
  int32_t pos, keys;  // cached keys; cached and new together
  float scale, maxScaleMul;
  const float* scaleMul;   // null: q and k are taken as they are
  const int32_t* visible;  // null: all
};

// Row i of head h of image b starts at data + b * batch + h * head + i * row, in elements.
struct Rows {
  void* data;
  DType type;
  int64_t batch, head, row;
};

__device__ inline int64_t rowsAt(const Rows& r, int b, int h, int64_t i) { return b * r.batch + h * r.head + i * r.row; }

// On the scores of a head, without the norms.
__device__ inline float headFactor(const Shape& s, int h) {
  if (!s.scaleMul) return s.scale;
  const float m = s.scaleMul[h];
  return s.scale * expf(s.maxScaleMul < m ? s.maxScaleMul : m);
}

// Keys that query i sees; false where the number is out of range: the query is then taken to see one key and its results are NaN.
__device__ inline bool keysSeen(const Shape& s, int i, int& seen) {
  seen = s.keys;
  if (!s.visible) return true;
  seen = s.visible[i];
  const bool ok = seen >= 1 && seen <= s.keys;
  if (!ok) seen = 1;
  return ok;
}

__device__ inline float loadAny(const void* data, DType type, int64_t i) {
  if (type == DType::f32) return static_cast<const float*>(data)[i];
  if (type == DType::f16) return toFloat(static_cast<const f16*>(data)[i]);
  return toFloat(static_cast<const bf16*>(data)[i]);
}

__device__ inline void storeAny(void* data, DType type, int64_t i, float v) {
  if (type == DType::f32) {
    static_cast<float*>(data)[i] = v;
  } else if (type == DType::f16) {
    static_cast<f16*>(data)[i] = fromFloat<f16>(v);
  } else {
    static_cast<bf16*>(data)[i] = fromFloat<bf16>(v);
  }
}

template <class T, int N>
__device__ inline void loadVector(const T* from, float (&to)[N]) {
  constexpr int kStep = 16 / sizeof(T) < N ? 16 / sizeof(T) : N;
  for (int i = 0; i < N; i += kStep) {
    const Pack<T, kStep> p = loadPack<kStep>(from + i);
    for (int j = 0; j < kStep; j++) to[i + j] = toFloat(p.v[j]);
  }
}

// N values from element `at`, of which `left` exist (the rest is zero). vector: whole groups of N are aligned.
template <int N>
__device__ inline void loadSome(const void* data, DType type, int64_t at, int left, bool vector, float (&to)[N]) {
  if (vector && left >= N) {
    if (type == DType::f32) return loadVector(static_cast<const float*>(data) + at, to);
    if (type == DType::f16) return loadVector(static_cast<const f16*>(data) + at, to);
    return loadVector(static_cast<const bf16*>(data) + at, to);
  }
  for (int i = 0; i < N; i++) to[i] = i < left ? loadAny(data, type, at + i) : 0.0f;
}

template <class T, int N>
__device__ inline void storeVector(T* to, const float (&from)[N]) {
  constexpr int kStep = 16 / sizeof(T) < N ? 16 / sizeof(T) : N;
  for (int i = 0; i < N; i += kStep) {
    Pack<T, kStep> p;
    for (int j = 0; j < kStep; j++) p.v[j] = fromFloat<T>(from[i + j]);
    storePack(to + i, p);
  }
}

template <int N>
__device__ inline void storeSome(void* data, DType type, int64_t at, int left, bool vector, const float (&from)[N]) {
  if (vector && left >= N) {
    if (type == DType::f32) return storeVector(static_cast<float*>(data) + at, from);
    if (type == DType::f16) return storeVector(static_cast<f16*>(data) + at, from);
    return storeVector(static_cast<bf16*>(data) + at, from);
  }
  for (int i = 0; i < N && i < left; i++) storeAny(data, type, at + i, from[i]);
}

// Whether groups of n elements of every row may be read and written at once.
inline bool wholeVectors(const Rows& r, int64_t width, int n) {
  const auto bytes = static_cast<int64_t>(dtypeSize(r.type)) * n;
  const int64_t align = bytes < 16 ? bytes : 16;
  return width % n == 0 && r.row % n == 0 && r.head % n == 0 && r.batch % n == 0 && reinterpret_cast<uintptr_t>(r.data) % align == 0;
}

constexpr int kPlaceGroup = 8;  // elements per lane and step

// Lanes of a warp that share a row: a power of two, so that the order of its sum depends on the width alone.
__host__ __device__ inline int lanesPerRow(int width) {
  int lanes = 1;
  while (lanes < 32 && lanes * kPlaceGroup < width) lanes *= 2;
  return lanes;
}

__device__ inline float sumOverLanes(float v, int lanes) {
  for (int d = lanes / 2; d > 0; d /= 2) v += __shfl_xor_sync(kAllLanes, v, d);
  return v;
}

// The row of this thread where each has `lanes` of them.
__device__ inline int64_t ownRow(int lanes) {
  const auto n = static_cast<unsigned>(lanes);
  return static_cast<int64_t>(blockIdx.x) * (blockDim.x / n) + threadIdx.x / n;
}

// Row number `index` of [B,rows,H]. Divisions of 64 bits would take longer than moving a row, and few tensors need them.
struct RowIndex {
  int b, i, h;
};
__device__ inline RowIndex rowIndex(int64_t index, int rows, int heads) {
  if (index >> 32 == 0) {
    const auto n = static_cast<unsigned>(index), line = n / static_cast<unsigned>(heads), b = line / static_cast<unsigned>(rows);
    return {static_cast<int>(b), static_cast<int>(line - b * static_cast<unsigned>(rows)),
            static_cast<int>(n - line * static_cast<unsigned>(heads))};
  }
  const int64_t line = index / heads, b = line / rows;
  return {static_cast<int>(b), static_cast<int>(line - b * rows), static_cast<int>(index - line * heads)};
}

struct Place {
  Rows from[2], to[2];  // keys, values; grid.y of them
  int32_t batch, heads, rows, width;
  bool normalize;  // keys
  bool vector;
  float* norm;  // [B,H,rows] lengths of the keys, or null
};

static __global__ void place(Place p) {
  const int part = static_cast<int>(blockIdx.y), lanes = lanesPerRow(p.width);
  const Rows &from = p.from[part], &to = p.to[part];
  const bool normalize = part == 0 && p.normalize;
  const int64_t index = ownRow(lanes);
  const int first = static_cast<int>(threadIdx.x) % lanes * kPlaceGroup;
  const auto [b, i, h] = rowIndex(index, p.rows, p.heads);  // heads are next to each other in qkv
  const bool real = b < p.batch;
  const int64_t source = real ? rowsAt(from, b, h, i) : 0, target = real ? rowsAt(to, b, h, i) : 0;
  float v[kPlaceGroup], length = 1.0f;
  if (normalize) {
    float sum = 0.0f;
    for (int c = first; real && c < p.width; c += lanes * kPlaceGroup) {
      loadSome(from.data, from.type, source + c, p.width - c, p.vector, v);
      for (float x : v) sum = fmaf(x, x, sum);
    }
    sum = sqrtf(sumOverLanes(sum, lanes));
    length = sum < kLeastNorm ? kLeastNorm : sum;  // NaN stays
    if (p.norm && real && first == 0) p.norm[(static_cast<int64_t>(b) * p.heads + h) * p.rows + i] = length;
  }
  if (!real || !to.data) return;
  for (int c = first; c < p.width; c += lanes * kPlaceGroup) {
    loadSome(from.data, from.type, source + c, p.width - c, p.vector, v);
    if (normalize) {
      for (float& x : v) x = x / length;
    }
    storeSome(to.data, to.type, target + c, p.width - c, p.vector, v);
  }
}

// parts 1: keys alone.
inline Status launchPlace(const Context& ctx, Place p, int parts) {
  p.vector = true;
  for (int i = 0; i < parts; i++) p.vector &= wholeVectors(p.from[i], p.width, kPlaceGroup) && wholeVectors(p.to[i], p.width, kPlaceGroup);
  constexpr int kThreads = 256;
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.rows;
  const int64_t blocks = divUp(rows * lanesPerRow(p.width), kThreads);
  return launch(ctx, place, {dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(parts)), dim3(kThreads)}, p);
}

// q, k or v (part 0, 1, 2) of qkv [B,l,3,H,c].
inline Rows partOf(const NsTensor& qkv, const Shape& s, int part) {
  const int64_t c = s.width, H = s.heads;
  char* base = static_cast<char*>(qkv.data) + part * H * c * static_cast<int64_t>(dtypeSize(dtype(qkv)));
  return {base, dtype(qkv), s.l * 3 * H * c, c, 3 * H * c};
}

// [B,l,H,c].
inline Rows outer(const NsTensor& y, const Shape& s) {
  const int64_t c = s.width, H = s.heads;
  return {y.data, dtype(y), s.l * H * c, c, H * c};
}

// [B,H,rows,c].
inline Rows perHead(void* data, DType type, const Shape& s, int64_t rows) {
  const int64_t c = s.width;
  return {data, type, s.heads * rows * c, rows * c, c};
}

}  // namespace ns::cuda::att

// Four neighbouring values of any float type as f32: one access of 16 or 8 bytes where rows allow it, element by element where not. The
// type is looked at when a kernel runs: the branch is the same for a whole grid, and the loads of several quads stay in flight together.
#pragma once
#include <cstring>

#include "cuda/common/context.h"
#include "cuda/common/half.h"
#include "cuda/common/vec.h"

namespace ns::cuda {

constexpr int kQuad = 4;

// A tensor as kernels get it; quads: every row may be accessed in whole quads.
struct Floats {
  void* data;
  DType type;
  bool quads;
};

inline Floats floats(const void* data, DType type, int64_t width) {
  const bool whole = type == DType::f32 ? packs<float>(data, width, kQuad) : packs<bf16>(data, width, kQuad);
  return {const_cast<void*>(data), type, data != nullptr && whole};
}
// Rows of `width` values.
inline Floats floats(const NsTensor& t, int64_t width) { return floats(t.data, dtype(t), width); }

// The bits of a quad; 16-bit types use the first half.
struct alignas(16) Raw {
  unsigned w[4];
};

__device__ inline Raw loadRaw(const Floats& f, int64_t at) {
  Raw r;
  if (f.type == DType::f32) {
    const Pack<float, kQuad> p = loadPack<kQuad>(static_cast<const float*>(f.data) + at);
    memcpy(&r, &p, 16);
  } else {
    const Pack<bf16, kQuad> p = loadPack<kQuad>(static_cast<const bf16*>(f.data) + at);
    memcpy(&r, &p, 8);
    r.w[2] = r.w[3] = 0;
  }
  return r;
}

template <class T>
__device__ inline void widen(const Raw& r, float (&v)[kQuad]) {
  T t[kQuad];
  memcpy(t, &r, sizeof(t));
  for (int e = 0; e < kQuad; e++) v[e] = toFloat(t[e]);
}
__device__ inline void widen(const Raw& r, DType type, float (&v)[kQuad]) {
  if (type == DType::f32) {
    widen<float>(r, v);
  } else if (type == DType::f16) {
    widen<f16>(r, v);
  } else {
    widen<bf16>(r, v);
  }
}

__device__ inline float loadOne(const Floats& f, int64_t at) {
  if (f.type == DType::f32) return static_cast<const float*>(f.data)[at];
  if (f.type == DType::f16) return toFloat(static_cast<const f16*>(f.data)[at]);
  return toFloat(static_cast<const bf16*>(f.data)[at]);
}
__device__ inline void storeOne(const Floats& f, int64_t at, float v) {
  if (f.type == DType::f32) {
    static_cast<float*>(f.data)[at] = v;
  } else if (f.type == DType::f16) {
    static_cast<f16*>(f.data)[at] = fromFloat<f16>(v);
  } else {
    static_cast<bf16*>(f.data)[at] = fromFloat<bf16>(v);
  }
}

template <class T>
__device__ inline void storeQuad(void* to, int64_t at, const float (&v)[kQuad]) {
  Pack<T, kQuad> p;
  for (int e = 0; e < kQuad; e++) p.v[e] = fromFloat<T>(v[e]);
  storePack(static_cast<T*>(to) + at, p);
}

// N quads at from(k), k < N, of which left(k) <= 0 .. 4 and more values exist; `fill` stands for the others.
template <int N, class From, class Left>
__device__ inline void readQuads(const Floats& f, From from, Left left, float fill, float (&v)[N][kQuad]) {
  if (f.quads) {
    Raw raw[N];
#pragma unroll
    for (int k = 0; k < N; k++) {
      if (left(k) > 0) raw[k] = loadRaw(f, from(k));
    }
#pragma unroll
    for (int k = 0; k < N; k++) {
      if (left(k) > 0) {
        widen(raw[k], f.type, v[k]);
      } else {
        for (int e = 0; e < kQuad; e++) v[k][e] = fill;
      }
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < N; k++) {
    for (int e = 0; e < kQuad; e++) v[k][e] = e < left(k) ? loadOne(f, from(k) + e) : fill;
  }
}
__device__ inline void readQuad(const Floats& f, int64_t at, int64_t left, float fill, float (&v)[kQuad]) {
  float one[1][kQuad];
  readQuads<1>(
      f, [&](int) { return at; }, [&](int) { return left; }, fill, one);
  for (int e = 0; e < kQuad; e++) v[e] = one[0][e];
}
__device__ inline void writeQuad(const Floats& f, int64_t at, int64_t left, const float (&v)[kQuad]) {
  if (!f.quads) {
    for (int e = 0; e < kQuad; e++) {
      if (e < left) storeOne(f, at + e, v[e]);
    }
  } else if (left > 0) {
    if (f.type == DType::f32) {
      storeQuad<float>(f.data, at, v);
    } else if (f.type == DType::f16) {
      storeQuad<f16>(f.data, at, v);
    } else {
      storeQuad<bf16>(f.data, at, v);
    }
  }
}

}  // namespace ns::cuda

// reshape, permute, slice, concat, write_slice: copies that change the order of elements, any dtype.
// Floor: bound by memory, every byte read and written once.
// Layout: contiguous row-major. permute merges dims first; what is left is a row copy or a batch of 2-d transposes, done in tiles of
// 64 x 64 whose inner loop keeps four rows of the far-strided side open (planes of 2^n bytes would evict each other from the cache).
// Reference: torch.permute, narrow, cat, copy_.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/layout.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <cstring>

#include "native/cpu/context.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR
HWY_INLINE void Transpose4(const uint32_t* x, int64_t xs, uint32_t* y, int64_t ys) {
  const hn::Full128<uint32_t> d;
  const auto r0 = hn::LoadU(d, x), r1 = hn::LoadU(d, x + xs), r2 = hn::LoadU(d, x + 2 * xs), r3 = hn::LoadU(d, x + 3 * xs);
  const auto t0 = hn::InterleaveLower(d, r0, r2), t1 = hn::InterleaveLower(d, r1, r3);
  const auto t2 = hn::InterleaveUpper(d, r0, r2), t3 = hn::InterleaveUpper(d, r1, r3);
  hn::StoreU(hn::InterleaveLower(d, t0, t1), d, y);
  hn::StoreU(hn::InterleaveUpper(d, t0, t1), d, y + ys);
  hn::StoreU(hn::InterleaveLower(d, t2, t3), d, y + 2 * ys);
  hn::StoreU(hn::InterleaveUpper(d, t2, t3), d, y + 3 * ys);
}
#endif

// y[a * ys + b] = x[b * xs + a] for a < na, b < nb.
void TransposeTile32(const uint32_t* x, int64_t xs, uint32_t* y, int64_t ys, int64_t na, int64_t nb) {
  int64_t a4 = 0, b4 = 0;
#if HWY_TARGET != HWY_SCALAR
  a4 = na & ~int64_t{3};
  b4 = nb & ~int64_t{3};
  if (ys > xs) {
    for (int64_t a = 0; a < a4; a += 4) {
      for (int64_t b = 0; b < b4; b += 4) Transpose4(x + b * xs + a, xs, y + a * ys + b, ys);
    }
  } else {
    for (int64_t b = 0; b < b4; b += 4) {
      for (int64_t a = 0; a < a4; a += 4) Transpose4(x + b * xs + a, xs, y + a * ys + b, ys);
    }
  }
#endif
  for (int64_t a = 0; a < a4; a++) {
    for (int64_t b = b4; b < nb; b++) y[a * ys + b] = x[b * xs + a];
  }
  for (int64_t a = a4; a < na; a++) {
    for (int64_t b = 0; b < nb; b++) y[a * ys + b] = x[b * xs + a];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(TransposeTile32);

namespace {
constexpr int64_t kChunk = 65536;  // bytes a thread takes at a time
constexpr int64_t kTile = 64;

int64_t bytesOf(const NsTensor& t) { return static_cast<int64_t>(dtypeSize(dtype(t))); }

// rows runs of `bytes` bytes each from src (every srcStride bytes) to dst (every dstStride bytes).
void copyRows(Pool& pool, char* dst, int64_t dstStride, const char* src, int64_t srcStride, int64_t bytes, int64_t rows) {
  if (bytes <= 0 || rows <= 0) return;
  const int64_t block = bytes < kChunk ? bytes : kChunk, blocks = (bytes + block - 1) / block;
  pool.parallelFor(rows * blocks, (kChunk + block - 1) / block, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t r = t / blocks, from = (t - r * blocks) * block, n = bytes - from < block ? bytes - from : block;
      std::memcpy(dst + r * dstStride + from, src + r * srcStride + from, static_cast<size_t>(n));
    }
  });
}

// The dims before, at and behind an axis.
struct Split {
  int64_t outer = 1, n = 1, inner = 1;
};
Split splitAt(const NsTensor& t, int axis) {
  if (axis < 0) axis += t.ndim;
  Split s;
  for (int i = 0; i < t.ndim; i++) (i < axis ? s.outer : i == axis ? s.n : s.inner) *= t.dims[i];
  return s;
}

// Output dims (outermost first) with the stride each has in the input; neighbours that move together are merged.
struct Plan {
  int k = 0;
  int64_t dims[NS_MAX_DIMS], stride[NS_MAX_DIMS];
};
Plan planOf(const NsTensor& x, const op::Dims& order) {
  int64_t strides[NS_MAX_DIMS];
  int64_t run = 1;
  for (int i = x.ndim - 1; i >= 0; i--) {
    strides[i] = run;
    run *= x.dims[i];
  }
  Plan p;
  for (int i = 0; i < x.ndim; i++) {
    const int from = order.d[i];
    if (x.dims[from] == 1) continue;
    if (p.k && p.stride[p.k - 1] == strides[from] * x.dims[from]) {
      p.dims[p.k - 1] *= x.dims[from];
      p.stride[p.k - 1] = strides[from];
      continue;
    }
    p.dims[p.k] = x.dims[from];
    p.stride[p.k++] = strides[from];
  }
  if (p.k == 0) {
    p.k = 1;
    p.dims[0] = 1;
    p.stride[0] = 1;
  }
  return p;
}

// Where row `index`, counted over the listed dims (innermost first), starts in the input and in the output.
struct Outer {
  int k = 0;
  int64_t dims[NS_MAX_DIMS], from[NS_MAX_DIMS], to[NS_MAX_DIMS];
  void add(int64_t n, int64_t f, int64_t t) {
    dims[k] = n;
    from[k] = f;
    to[k++] = t;
  }
  void at(int64_t index, int64_t* f, int64_t* t) const {
    *f = *t = 0;
    for (int i = 0; i < k; i++) {
      const int64_t q = index / dims[i], r = index - q * dims[i];
      *f += r * from[i];
      *t += r * to[i];
      index = q;
    }
  }
};

template <class T>
void transposeTile(const T* x, int64_t xs, T* y, int64_t ys, int64_t na, int64_t nb) {
  if constexpr (sizeof(T) == 4) {
    HWY_DYNAMIC_DISPATCH(TransposeTile32)(x, xs, y, ys, na, nb);
  } else {
    for (int64_t a = 0; a < na; a++) {
      for (int64_t b = 0; b < nb; b++) y[a * ys + b] = x[b * xs + a];
    }
  }
}

template <class T>
void permuteRows(Pool& pool, const Plan& p, const T* x, T* y) {
  const int64_t n = p.dims[p.k - 1];
  Outer outer;
  int64_t rows = 1, run = n;
  for (int i = p.k - 2; i >= 0; i--) {
    outer.add(p.dims[i], p.stride[i], run);
    rows *= p.dims[i];
    run *= p.dims[i];
  }
  const int64_t grain = kChunk / (n * static_cast<int64_t>(sizeof(T))) + 1;
  pool.parallelFor(rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      int64_t f, t;
      outer.at(r, &f, &t);
      std::memcpy(y + t, x + f, static_cast<size_t>(n) * sizeof(T));
    }
  });
}

template <class T>
void permuteTiles(Pool& pool, const Plan& p, const T* x, T* y) {
  const int last = p.k - 1;
  Outer outer;
  int64_t na = 1, ys = 1, batches = 1, run = p.dims[last];
  for (int i = last - 1; i >= 0; i--) {
    if (p.stride[i] == 1) {
      na = p.dims[i];
      ys = run;
    } else {
      outer.add(p.dims[i], p.stride[i], run);
      batches *= p.dims[i];
    }
    run *= p.dims[i];
  }
  const int64_t nb = p.dims[last], xs = p.stride[last];
  const int64_t ta = (na + kTile - 1) / kTile, tb = (nb + kTile - 1) / kTile;
  const int64_t tileSize = (na < kTile ? na : kTile) * (nb < kTile ? nb : kTile);
  pool.parallelFor(batches * ta * tb, 16384 / tileSize + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t batch = t / (ta * tb), tile = t - batch * ta * tb;
      // Neighbouring tiles continue the output rows when those lie close together, the input rows otherwise.
      const int64_t a = (ys > xs ? tile % ta : tile / tb) * kTile, b = (ys > xs ? tile / ta : tile % tb) * kTile;
      int64_t f, o;
      outer.at(batch, &f, &o);
      transposeTile(x + f + b * xs + a, xs, y + o + a * ys + b, ys, na - a < kTile ? na - a : kTile, nb - b < kTile ? nb - b : kTile);
    }
  });
}

template <class T>
void permuteAs(Pool& pool, const Plan& p, const NsCall& call) {
  if (p.stride[p.k - 1] == 1) return permuteRows(pool, p, in<T>(call, 0), out<T>(call, 0));
  permuteTiles(pool, p, in<T>(call, 0), out<T>(call, 0));
}
}  // namespace

namespace kernels {

Status reshape(Context& ctx, const NsCall& call, const op::reshape::Params&) {
  copyRows(ctx.pool, out<char>(call, 0), 0, in<char>(call, 0), 0, count(call.in[0]) * bytesOf(call.in[0]), 1);
  return {};
}

Status permute(Context& ctx, const NsCall& call, const op::permute::Params& p) {
  const NsTensor& x = call.in[0];
  if (count(x) == 0) return {};
  const Plan plan = planOf(x, p.order);
  if (plan.k == 1) {
    copyRows(ctx.pool, out<char>(call, 0), 0, in<char>(call, 0), 0, count(x) * bytesOf(x), 1);
    return {};
  }
  switch (bytesOf(x)) {
    case 1: permuteAs<uint8_t>(ctx.pool, plan, call); break;
    case 2: permuteAs<uint16_t>(ctx.pool, plan, call); break;
    default: permuteAs<uint32_t>(ctx.pool, plan, call); break;
  }
  return {};
}

Status slice(Context& ctx, const NsCall& call, const op::slice::Params& p) {
  const Split s = splitAt(call.in[0], p.axis);
  const int64_t unit = s.inner * bytesOf(call.in[0]);
  copyRows(ctx.pool, out<char>(call, 0), p.size * unit, in<char>(call, 0) + p.start * unit, s.n * unit, p.size * unit, s.outer);
  return {};
}

Status concat(Context& ctx, const NsCall& call, const op::concat::Params& p) {
  const Split a = splitAt(call.in[0], p.axis), b = splitAt(call.in[1], p.axis);
  const int64_t unit = a.inner * bytesOf(call.in[0]), row = (a.n + b.n) * unit;
  char* y = out<char>(call, 0);
  copyRows(ctx.pool, y, row, in<char>(call, 0), a.n * unit, a.n * unit, a.outer);
  copyRows(ctx.pool, y + a.n * unit, row, in<char>(call, 1), b.n * unit, b.n * unit, b.outer);
  return {};
}

Status write_slice(Context& ctx, const NsCall& call, const op::write_slice::Params& p) {
  const Split d = splitAt(call.in[0], p.axis), s = splitAt(call.in[1], p.axis);
  const int64_t unit = d.inner * bytesOf(call.in[0]);
  copyRows(ctx.pool, mut<char>(call, 0) + p.start * unit, d.n * unit, in<char>(call, 1), s.n * unit, s.n * unit, d.outer);
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif

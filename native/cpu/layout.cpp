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

#include "native/abi/plan.h"
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y[a * ys + b] = x[b * xs + a] for a < na, b < nb.
void TransposeTile32(const uint32_t* x, int64_t xs, uint32_t* y, int64_t ys, int64_t na, int64_t nb) {
  int64_t a4 = 0, b4 = 0;
#if HWY_TARGET != HWY_SCALAR
  a4 = na & ~int64_t{3};
  b4 = nb & ~int64_t{3};
  const auto transpose = [&](int64_t a, int64_t b) {
    const uint32_t* from = x + b * xs + a;
    Transpose4(from, from + xs, from + 2 * xs, from + 3 * xs, y + a * ys + b, ys);
  };
  if (ys > xs) {
    for (int64_t a = 0; a < a4; a += 4) {
      for (int64_t b = 0; b < b4; b += 4) transpose(a, b);
    }
  } else {
    for (int64_t b = 0; b < b4; b += 4) {
      for (int64_t a = 0; a < a4; a += 4) transpose(a, b);
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
void permuteRows(Pool& pool, const plan::Rows& rows, const T* x, T* y) {
  const int64_t grain = kChunk / (rows.n * static_cast<int64_t>(sizeof(T))) + 1;
  pool.parallelFor(rows.start.total, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      int64_t f, t;
      rows.start.at(r, &f, &t);
      std::memcpy(y + t, x + f, static_cast<size_t>(rows.n) * sizeof(T));
    }
  });
}

template <class T>
void permuteTiles(Pool& pool, const plan::Transpose& p, const T* x, T* y) {
  const int64_t na = p.na, nb = p.nb, xs = p.xs, ys = p.ys;
  const int64_t ta = (na + kTile - 1) / kTile, tb = (nb + kTile - 1) / kTile;
  const int64_t tileSize = (na < kTile ? na : kTile) * (nb < kTile ? nb : kTile);
  pool.parallelFor(p.batch.total * ta * tb, 16384 / tileSize + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t batch = t / (ta * tb), tile = t - batch * ta * tb;
      // Neighbouring tiles continue the output rows when those lie close together, the input rows otherwise.
      const int64_t a = (ys > xs ? tile % ta : tile / tb) * kTile, b = (ys > xs ? tile / ta : tile % tb) * kTile;
      int64_t f, o;
      p.batch.at(batch, &f, &o);
      transposeTile(x + f + b * xs + a, xs, y + o + a * ys + b, ys, na - a < kTile ? na - a : kTile, nb - b < kTile ? nb - b : kTile);
    }
  });
}

template <class T>
void permuteAs(Pool& pool, const plan::Permutation& p, const NsCall& call) {
  if (p.keepsRows()) return permuteRows(pool, plan::rowsOf(p), in<T>(call, 0), out<T>(call, 0));
  permuteTiles(pool, plan::transposeOf(p), in<T>(call, 0), out<T>(call, 0));
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
  const plan::Permutation permutation = plan::permutationOf(x, p.order);
  if (permutation.k == 1) {
    copyRows(ctx.pool, out<char>(call, 0), 0, in<char>(call, 0), 0, count(x) * bytesOf(x), 1);
    return {};
  }
  switch (bytesOf(x)) {
    case 1: permuteAs<uint8_t>(ctx.pool, permutation, call); break;
    case 2: permuteAs<uint16_t>(ctx.pool, permutation, call); break;
    default: permuteAs<uint32_t>(ctx.pool, permutation, call); break;
  }
  return {};
}

Status slice(Context& ctx, const NsCall& call, const op::slice::Params& p) {
  const plan::Split s = plan::splitAt(call.in[0], p.axis);
  const int64_t unit = s.inner * bytesOf(call.in[0]);
  copyRows(ctx.pool, out<char>(call, 0), p.size * unit, in<char>(call, 0) + p.start * unit, s.n * unit, p.size * unit, s.outer);
  return {};
}

Status concat(Context& ctx, const NsCall& call, const op::concat::Params& p) {
  const plan::Split a = plan::splitAt(call.in[0], p.axis), b = plan::splitAt(call.in[1], p.axis);
  const int64_t unit = a.inner * bytesOf(call.in[0]), row = (a.n + b.n) * unit;
  char* y = out<char>(call, 0);
  copyRows(ctx.pool, y, row, in<char>(call, 0), a.n * unit, a.n * unit, a.outer);
  copyRows(ctx.pool, y + a.n * unit, row, in<char>(call, 1), b.n * unit, b.n * unit, b.outer);
  return {};
}

Status write_slice(Context& ctx, const NsCall& call, const op::write_slice::Params& p) {
  const plan::Split d = plan::splitAt(call.in[0], p.axis), s = plan::splitAt(call.in[1], p.axis);
  const int64_t unit = d.inner * bytesOf(call.in[0]);
  copyRows(ctx.pool, mut<char>(call, 0) + p.start * unit, d.n * unit, in<char>(call, 1), s.n * unit, s.n * unit, d.outer);
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif

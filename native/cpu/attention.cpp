// attention: softmax(q k^T) v over cached and new keys, online over blocks of 64 keys, the scores never in memory.
// Floor: 4 * B * H * l * keys * c FLOPs; bytes: qkv, caches and y once. A task is a (batch, head) and up to 384 query rows: it packs each
// block of keys (transposed) and values once and runs all its tiles of 6 rows over it, so the packing is 1 to 3 % of the work.
// Layout: qkv [B,l,3,H,c], caches [B,H,Lmax,c] in f32, f16 or bf16, y [B,l,H,c].
// Reference: FlashAttention (Dao et al. 2022, algorithm 1); q/k normalisation and scale of VAR's SelfAttention.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/attention.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <cmath>

#include "native/cpu/attention-inl.h"
#include "native/cpu/context.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// Scratch of one task, all parts a multiple of 16 floats.
struct AttParts {
  float *q, *o, *sum, *max, *k, *v, *s, *rows, *zeros;
  size_t floats;
};

AttParts AttCarve(float* base, int64_t rows, int64_t c) {
  const int64_t P = 2 * AttLanes(), cp = AttRoundUp(c, std::max<int64_t>(P, 16));
  AttParts a;
  size_t at = 0;
  const auto take = [&](int64_t n) {
    float* p = base ? base + at : nullptr;
    at += static_cast<size_t>(AttRoundUp(n, 16));
    return p;
  };
  a.q = take(rows * c);
  a.o = take(rows * cp);
  a.sum = take(rows * AttLanes());
  a.max = take(rows);
  a.k = take(kAttKeys * c);
  a.v = take(kAttKeys * cp);
  a.s = take(kAttRows * kAttKeys);
  a.rows = take(2 * kAttKeys * cp);
  a.zeros = take(cp);
  a.floats = at;
  return a;
}

size_t AttScratch(int64_t rows, int64_t c) { return AttCarve(nullptr, AttRoundUp(rows, kAttRows), c).floats; }

// Query rows, normalised and scaled, as [tile][c][6]; rows behind the last are zero.
void AttPackQuery(const AttHead& h, int64_t r0, int64_t rows, float* tmp, float* q) {
  const AttF d;
  const int64_t c = h.width, cp = AttRoundUp(c, 16);
  const AttV factor = hn::Set(d, h.factor);
  const float* six[kAttRows];
  for (int64_t r = 0; r < kAttRows; r++) six[r] = tmp + r * cp;
  for (int64_t t = 0; t < rows; t += kAttRows, q += kAttRows * c) {
    for (int64_t r = 0; r < kAttRows; r++) {
      float* to = tmp + r * cp;
      if (t + r >= rows) {
        std::fill(to, to + c, 0.0f);
        continue;
      }
      const float* from = h.qkv + (r0 + t + r) * h.stride;
      if (h.normalize) {
        AttNormalize(from, to, c);
        from = to;
      }
      Map(d, from, to, c, [&](AttV v) { return hn::Mul(v, factor); });
    }
    // Rows 2 and 3 are written twice, with the same values.
    AttTranspose4(six, c, q, kAttRows);
    AttTranspose4(six + 2, c, q + 2, kAttRows);
  }
}

// Keys and values [j0, j0 + n) to panels.
void AttPackBlock(const AttHead& h, int64_t j0, int64_t n, const AttParts& a) {
  const int64_t c = h.width, cp = AttRoundUp(c, std::max<int64_t>(2 * AttLanes(), 16));
  const int64_t bytes = c * static_cast<int64_t>(dtypeSize(h.cacheType));
  const float* keys[kAttKeys];
  for (int64_t j = 0; j < n; j++) {
    float* tmp = a.rows + 2 * j * cp;
    const float* value;
    if (j0 + j >= h.pos) {
      const float* row = h.qkv + (j0 + j - h.pos) * h.stride;
      keys[j] = row + h.kAt;
      value = row + h.vAt;
      if (h.normalize) {
        AttNormalize(keys[j], tmp, c);
        keys[j] = tmp;
      }
    } else if (h.cacheType == DType::f32) {
      keys[j] = reinterpret_cast<const float*>(h.kCache + (j0 + j) * bytes);
      value = reinterpret_cast<const float*>(h.vCache + (j0 + j) * bytes);
    } else {
      AttLoadRow(h.cacheType, h.kCache + (j0 + j) * bytes, tmp, c);
      AttLoadRow(h.cacheType, h.vCache + (j0 + j) * bytes, tmp + cp, c);
      keys[j] = tmp;
      value = tmp + cp;
    }
    AttPackValues(value, j, c, a.v);
  }
  AttPackKeys(keys, n, c, a.zeros, a.k);
}

HWY_INLINE int64_t AttVisible(const AttHead& h, int64_t row) { return h.visible ? h.visible[row] : h.keys; }

// One tile of 6 rows (rows of them real) against one block of keys.
void AttTile(const AttHead& h, int64_t row, int64_t rows, int64_t j0, const float* q, const AttParts& a, float* o, float* sum, float* max) {
  const int64_t N = AttLanes(), cp = AttRoundUp(h.width, 2 * N);
  int64_t limit[kAttRows], most = 0;
  for (int64_t r = 0; r < kAttRows; r++) {
    limit[r] = r < rows ? std::min(kAttKeys, AttVisible(h, row + r) - j0) : 1;
    if (r < rows) most = std::max(most, limit[r]);
  }
  if (most <= 0) return;
  AttScores(q, a.k, h.width, most, a.s);
  float alpha[kAttRows];
  for (int64_t r = 0; r < kAttRows; r++) {
    alpha[r] = AttSoftmaxRow(a.s + r * kAttKeys, AttRoundUp(most, N), std::max<int64_t>(limit[r], 0), max + r, sum + r * N);
  }
  AttValues(a.s, a.v, most, cp, alpha, o);
}

// Query rows [r0, r0 + rows) of one (batch, head).
void AttTask(const AttHead& h, int64_t r0, int64_t rows, float* scratch) {
  const AttF d;
  const int64_t N = AttLanes(), c = h.width, cp = AttRoundUp(c, 2 * N), padded = AttRoundUp(rows, kAttRows);
  const AttParts a = AttCarve(scratch, padded, c);
  std::fill(a.zeros, a.zeros + c, 0.0f);
  std::fill(a.o, a.o + padded * cp, 0.0f);
  std::fill(a.sum, a.sum + padded * N, 0.0f);
  std::fill(a.max, a.max + padded, -std::numeric_limits<float>::infinity());
  AttPackQuery(h, r0, rows, a.rows, a.q);
  int64_t most = 0;
  for (int64_t r = 0; r < rows; r++) most = std::max(most, AttVisible(h, r0 + r));
  for (int64_t j0 = 0; j0 < most; j0 += kAttKeys) {
    AttPackBlock(h, j0, std::min(kAttKeys, most - j0), a);
    for (int64_t r = 0; r < rows; r += kAttRows) {
      AttTile(h, r0 + r, std::min(kAttRows, rows - r), j0, a.q + r * c, a, a.o + r * cp, a.sum + r * N, a.max + r);
    }
  }
  for (int64_t r = 0; r < rows; r++) {
    const AttV total = hn::SumOfLanes(d, hn::LoadU(d, a.sum + r * N));
    Map(d, a.o + r * cp, h.y + (r0 + r) * h.yStride, c, [&](AttV v) { return hn::Div(v, total); });
    if (h.lse) {
      const double log = static_cast<double>(a.max[r]) * 0.6931471805599453 + std::log(static_cast<double>(hn::GetLane(total)));
      h.lse[r0 + r] = static_cast<float>(log);
    }
  }
}

// Writes the new keys (normalised if asked) and values behind the cached ones.
void AttAppend(const AttHead& h, float* tmp) {
  const int64_t c = h.width, bytes = c * static_cast<int64_t>(dtypeSize(h.cacheType));
  for (int64_t j = h.pos; j < h.keys; j++) {
    const float* row = h.qkv + (j - h.pos) * h.stride;
    if (h.normalize) {
      AttNormalize(row + h.kAt, tmp, c);
    } else {
      std::memcpy(tmp, row + h.kAt, static_cast<size_t>(c) * 4);
    }
    AttStoreRow(h.cacheType, tmp, h.kCache + j * bytes, c);
    std::memcpy(tmp, row + h.vAt, static_cast<size_t>(c) * 4);
    AttStoreRow(h.cacheType, tmp, h.vCache + j * bytes, c);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(AttScratch);
HWY_EXPORT(AttTask);
HWY_EXPORT(AttAppend);

namespace {

struct Shape {
  int64_t B, l, H, c, Lmax, pos;
};

Status check(const NsCall& call, const op::attention::Params& p, const Shape& s) {
  namespace I = op::attention::in;
  const NsTensor* k = input(call, I::kCache);
  const NsTensor* v = input(call, I::vCache);
  if (s.H < 1 || s.c < 1) return failure(NS_INVALID, "[attention] heads %d, width %d: both must be positive", p.heads, p.width);
  if (!k != !v) return failure(NS_INVALID, "[attention] kCache and vCache must be given together");
  if (!k && (p.pos != 0 || p.append)) return failure(NS_INVALID, "[attention] pos %d, append %d: needs kCache and vCache", p.pos, p.append);
  if (k && k->dtype != v->dtype) return failure(NS_INVALID, "[attention] kCache and vCache have different dtypes");
  if (p.pos < 0 || (k && s.pos + (p.append ? s.l : 0) > s.Lmax)) {
    return failure(NS_INVALID, "[attention] pos %d with %lld new keys does not fit the cache of %lld", p.pos, (long long)s.l,
                   (long long)s.Lmax);
  }
  if (const NsTensor* t = input(call, I::visible)) {
    const int32_t* visible = static_cast<const int32_t*>(t->data);
    for (int64_t i = 0; i < s.l; i++) {
      if (visible[i] < 1 || visible[i] > s.pos + s.l) {
        return failure(NS_INDEX, "[attention] visible[%lld] is %d, accepted: 1 to %lld", (long long)i, visible[i],
                       (long long)(s.pos + s.l));
      }
    }
  }
  return {};
}

AttHead head(const NsCall& call, const op::attention::Params& p, const Shape& s, int64_t b, int64_t h) {
  namespace I = op::attention::in;
  AttHead a = {};
  a.stride = 3 * s.H * s.c;
  a.qkv = in<float>(call, I::qkv) + b * s.l * a.stride + h * s.c;
  a.kAt = s.H * s.c;
  a.vAt = 2 * s.H * s.c;
  if (const NsTensor* k = input(call, I::kCache)) {
    a.cacheType = dtype(*k);
    const int64_t offset = (b * s.H + h) * s.Lmax * s.c * static_cast<int64_t>(dtypeSize(a.cacheType));
    a.kCache = mut<char>(call, I::kCache) + offset;
    a.vCache = mut<char>(call, I::vCache) + offset;
  }
  a.pos = s.pos;
  a.width = s.c;
  a.keys = s.pos + s.l;
  if (const NsTensor* t = input(call, I::visible)) a.visible = static_cast<const int32_t*>(t->data);
  double factor = static_cast<double>(p.scale) * 1.4426950408889634;
  if (const NsTensor* t = input(call, I::scaleMul)) {
    a.normalize = true;
    factor *= std::exp(static_cast<double>(std::min(static_cast<const float*>(t->data)[h], p.maxScaleMul)));
  }
  a.factor = static_cast<float>(factor);
  a.yStride = s.H * s.c;
  a.y = out<float>(call, op::attention::out::y) + b * s.l * a.yStride + h * s.c;
  if (const NsTensor* t = input(call, I::lse)) a.lse = static_cast<float*>(t->data) + (b * s.H + h) * s.l;
  return a;
}

// Rows per task: whole tiles, equal chunks of at most 384 rows, as many as leave four tasks per thread (rows do not depend on it).
int64_t taskRows(const Shape& s, int threads) {
  int64_t limit = 384;
  while (limit > 24 && s.B * s.H * ((s.l + limit - 1) / limit) < 4 * threads) limit /= 2;
  const int64_t chunks = (s.l + limit - 1) / limit, rows = (s.l + chunks - 1) / chunks;
  return (rows + kAttRows - 1) / kAttRows * kAttRows;
}

}  // namespace

namespace kernels {

Status attention(Context& ctx, const NsCall& call, const op::attention::Params& p) {
  const NsTensor& qkv = call.in[op::attention::in::qkv];
  const NsTensor* cache = input(call, op::attention::in::kCache);
  const Shape s = {qkv.dims[0], qkv.dims[1], p.heads, p.width, cache ? cache->dims[2] : 0, p.pos};
  if (Status st = check(call, p, s); !st.ok()) return st;
  if (s.B == 0 || s.l == 0) return {};
  const int64_t rows = taskRows(s, ctx.pool.threads()), chunks = (s.l + rows - 1) / rows;
  const size_t floats = HWY_DYNAMIC_DISPATCH(AttScratch)(rows, s.c);
  for (int t = 0; t < ctx.pool.threads(); t++) ctx.perThread[t].floats(0, floats);
  const auto task = HWY_DYNAMIC_DISPATCH(AttTask);
  ctx.pool.parallelFor(s.B * s.H * chunks, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = ctx.perThread[thread].floats(0, floats);
    for (int64_t i = begin; i < end; i++) {
      const AttHead h = head(call, p, s, i / chunks / s.H, i / chunks % s.H);
      const int64_t r0 = i % chunks * rows;
      task(h, r0, std::min(rows, s.l - r0), scratch);
    }
  });
  if (p.append) {
    const auto append = HWY_DYNAMIC_DISPATCH(AttAppend);
    ctx.pool.parallelFor(s.B * s.H, 1, [&](int64_t begin, int64_t end, int thread) {
      float* scratch = ctx.perThread[thread].floats(0, floats);
      for (int64_t i = begin; i < end; i++) append(head(call, p, s, i / s.H, i % s.H), scratch);
    });
  }
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif

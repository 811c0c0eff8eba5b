// attention: softmax(q k^T) v over cached and new keys, online over blocks of 64 keys, the scores never in memory.
// Floor: 4 * B * H * l * keys * c FLOPs; bytes: qkv, caches and y once. A task is a (batch, head) and up to 384 query rows: it transposes
// them once into tiles of up to three vectors and runs all tiles over each block of keys and values, which are rows of an f32 cache as
// they lie there or are copied (normalised, widened) to scratch. New keys go to an f32 cache first and are read from there.
// Layout: qkv [B,l,3,H,c], caches [B,H,Lmax,c] in f32, f16 or bf16, y [B,l,H,c].
// Reference: FlashAttention (Dao et al. 2022, algorithm 1); q/k normalisation and scale of VAR's SelfAttention.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/attention.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <cmath>

#include "native/cpu/attention_tile-inl.h"
#include "native/cpu/context.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// Scratch of one task, all parts a multiple of 16 floats.
struct AttParts {
  float *q, *o, *sum, *max, *k, *v, *s, *rows;
  size_t floats;
};

// Channels of a row of output and of copied values: whole groups.
HWY_INLINE int64_t AttChannels(int64_t c) { return AttRoundUp(c, kAttGroup); }

AttParts AttCarve(float* base, int64_t rows, int64_t c) {
  const int64_t N = AttLanes(), cp = AttRoundUp(c, std::max<int64_t>(N, 16)), lanes = AttRoundUp(rows, N);
  AttParts a;
  size_t at = 0;
  const auto take = [&](int64_t n) {
    float* p = base ? base + at : nullptr;
    at += static_cast<size_t>(AttRoundUp(n, 16));
    return p;
  };
  a.q = take(lanes * c);
  a.o = take(lanes * AttChannels(c));
  a.sum = take(lanes);
  a.max = take(lanes);
  a.k = take(kAttKeys * c);
  a.v = take(kAttKeys * cp);
  a.s = take(kAttKeys * kAttVectors * N);
  a.rows = take(4 * cp);
  a.floats = at;
  return a;
}

size_t AttScratch(int64_t rows, int64_t c) { return AttCarve(nullptr, rows, c).floats; }

// Query rows, normalised and scaled, as [c][lanes]; lanes behind the last row are zero.
void AttPackQuery(const AttHead& h, int64_t r0, int64_t rows, int64_t lanes, float* tmp, float* q) {
  const AttF d;
  const int64_t c = h.width, cp = AttRoundUp(c, std::max<int64_t>(AttLanes(), 16));
  const AttV factor = hn::Set(d, h.factor);
  const float* four[4];
  for (int64_t r = 0; r < 4; r++) four[r] = tmp + r * cp;
  for (int64_t t = 0; t < lanes; t += 4) {
    const int64_t some = std::min<int64_t>(4, lanes - t);
    for (int64_t r = 0; r < some; r++) {
      float* to = tmp + r * cp;
      if (t + r >= rows) {
        std::fill(to, to + c, 0.0f);
        continue;
      }
      const float* from = h.qkv + (r0 + t + r) * h.stride;
      if (t + r + kAttSoon < rows) AttFetch(from + kAttSoon * h.stride, c * 4);
      if (h.normalize) {
        AttNormalize(from, to, c, h.factor);
      } else {
        Map(d, from, to, c, [&](AttV v) { return hn::Mul(v, factor); });
      }
    }
    if (some == 4) {
      AttTranspose4(four, c, q + t, lanes);
      continue;
    }
    for (int64_t i = 0; i < c; i++) {
      for (int64_t r = 0; r < some; r++) q[i * lanes + t + r] = four[r][i];
    }
  }
}

// Writes the new keys (normalised if asked) and values of rows [j0, j1) to the cache.
void AttAppend(const AttHead& h, int64_t j0, int64_t j1, float* tmp) {
  const AttF d;
  const int64_t c = h.width, bytes = c * static_cast<int64_t>(dtypeSize(h.cacheType));
  const bool direct = h.cacheType == DType::f32;
  const auto copy = [](AttV v) { return v; };
  for (int64_t j = std::max(j0, h.pos); j < j1; j++) {
    const float* row = h.qkv + (j - h.pos) * h.stride;
    if (j + kAttSoon < j1) {
      AttFetch(row + kAttSoon * h.stride + h.kAt, c * 4);
      AttFetch(row + kAttSoon * h.stride + h.vAt, c * 4);
    }
    float* k = direct ? reinterpret_cast<float*>(h.kCache + j * bytes) : tmp;
    h.normalize ? AttNormalize(row + h.kAt, k, c) : Map(d, row + h.kAt, k, c, copy);
    if (!direct) AttStoreRow(h.cacheType, tmp, h.kCache + j * bytes, c);
    Map(d, row + h.vAt, direct ? reinterpret_cast<float*>(h.vCache + j * bytes) : tmp, c, copy);
    if (!direct) AttStoreRow(h.cacheType, tmp, h.vCache + j * bytes, c);
  }
}

// Where the rows of a block of keys and values lie. Keys from `whole` groups on are at `rest`, a whole group too.
struct AttBlock {
  const float *k, *rest, *v;
  int64_t whole, vStride;
};

// Row j of keys or values (at: of its part in qkv) as f32, c floats and more: writes whole vectors.
HWY_INLINE void AttCopyRow(const AttHead& h, const char* cache, int64_t at, bool normalize, int64_t j, float* to) {
  const AttF d;
  const int64_t c = h.width;
  if (j >= h.cached) {
    const float* from = h.qkv + (j - h.pos) * h.stride + at;
    normalize ? AttNormalize(from, to, c) : Map(d, from, to, c, [](AttV v) { return v; });
    return;
  }
  const char* row = cache + j * c * static_cast<int64_t>(dtypeSize(h.cacheType));
  if (h.cacheType == DType::f32) {
    Map(d, reinterpret_cast<const float*>(row), to, c, [](AttV v) { return v; });
  } else {
    AttLoadRow(h.cacheType, row, to, c);
  }
}

// Keys and values [j0, j0 + n), read where they lie if that is an f32 cache.
AttBlock AttPrepare(const AttHead& h, int64_t j0, int64_t n, const AttParts& a) {
  const int64_t c = h.width, whole = n / kAttGroup;
  const bool there = h.cacheType == DType::f32 && j0 + n <= h.cached;
  AttBlock b = {a.k, a.k + whole * kAttGroup * c, a.v, whole, AttChannels(c)};
  int64_t first = 0;
  if (there) {
    b.k = reinterpret_cast<const float*>(h.kCache) + j0 * c;
    b.rest = a.k;
    first = whole * kAttGroup;
  }
  // A copy may write more than c floats: row by row, so that the next one overwrites them.
  for (int64_t j = first; j < n; j++) AttCopyRow(h, h.kCache, h.kAt, h.normalize, j0 + j, a.k + (j - first) * c);
  if (n % kAttGroup) std::fill(a.k + (n - first) * c, a.k + (AttRoundUp(n, kAttGroup) - first) * c, 0.0f);
  if (there && c % kAttGroup == 0) {
    b.v = reinterpret_cast<const float*>(h.vCache) + j0 * c;
    b.vStride = c;
    return b;
  }
  for (int64_t j = 0; j < n; j++) {
    float* to = a.v + j * b.vStride;
    AttCopyRow(h, h.vCache, h.vAt, false, j0 + j, to);
    std::fill(to + c, to + b.vStride, 0.0f);
  }
  return b;
}

HWY_INLINE int64_t AttVisible(const AttHead& h, int64_t row) { return h.visible ? h.visible[row] : h.keys; }

// One tile of V vectors (rows of its lanes real) against n keys from j0 on.
template <int V, class D>
void AttTile(const AttHead& h, int64_t row, int64_t rows, int64_t j0, int64_t n, const AttBlock& b, AttAhead& ahead, float* s,
             const float* q, float* o, float* sum, float* max) {
  const D d;
  const int64_t VN = V * static_cast<int64_t>(hn::Lanes(d)), c = h.width;
  HWY_ALIGN float limit[V * hn::MaxLanes(D())] = {}, alpha[V * hn::MaxLanes(D())];
  int64_t least = n, most = n;
  if (h.visible) {
    std::fill(limit, limit + VN, static_cast<float>(n));
    most = 0;
    for (int64_t r = 0; r < rows; r++) {
      const int64_t seen = std::clamp<int64_t>(h.visible[row + r] - j0, 0, n);
      limit[r] = static_cast<float>(seen);
      least = std::min(least, seen);
      most = std::max(most, seen);
    }
    if (most == 0) return;
  }
  const int64_t groups = (most + kAttGroup - 1) / kAttGroup, whole = std::min(groups, b.whole);
  AttTileScores<V>(d, q, b.k, c, whole, ahead, s);
  if (groups > whole) AttTileScores<V>(d, q, b.rest, c, 1, ahead, s + whole * kAttGroup * VN);
  AttTileSoftmax(d, s, most, VN, least < most ? limit : nullptr, max, sum, alpha);
  AttTileValues<V>(d, s, b.v, b.vStride, most, AttChannels(c) / kAttGroup, alpha, ahead, o);
}

// Divides a tile [c][lanes] by its sums and writes it as rows.
void AttFinish(const AttHead& h, int64_t row, int64_t rows, int64_t lanes, float* o, const float* sum, const float* max) {
  const AttNarrow d;
  const int64_t N = AttNarrowLanes(), c = h.width;
  for (int64_t v = 0; v < lanes; v += N) {
    const auto inverse = hn::Div(hn::Set(d, 1.0f), hn::LoadU(d, sum + v));
    for (int64_t i = 0; i < c; i++) hn::StoreU(hn::Mul(hn::LoadU(d, o + i * lanes + v), inverse), d, o + i * lanes + v);
  }
  for (int64_t r = 0; r < rows; r += 4) {
    const int64_t some = std::min<int64_t>(4, rows - r);
    float* y = h.y + (row + r) * h.yStride;
    int64_t i = 0;
    for (; i + 4 <= c; i += 4) {
      const float* from = o + i * lanes + r;
      const float* four[4] = {from, from + lanes, from + 2 * lanes, from + 3 * lanes};
      AttTranspose4(four, some, y + i, h.yStride);
    }
    for (; i < c; i++) {
      for (int64_t k = 0; k < some; k++) y[k * h.yStride + i] = o[i * lanes + r + k];
    }
  }
  for (int64_t r = 0; h.lse && r < rows; r++) {
    h.lse[row + r] = static_cast<float>(static_cast<double>(max[r]) * 0.6931471805599453 + std::log(static_cast<double>(sum[r])));
  }
}

// Query rows [r0, r0 + rows) of one (batch, head), with the scratch that holds them.
struct AttRange {
  int64_t r0, rows, lanes, most;  // most: keys that any of them sees
  AttParts a;
};

// What to fetch while rows [at, at + real) of the range meet the block from j0 on: in the first block the next tile's queries, in the last
// one the rows of y, else a part of the new keys and values of the next block and their places in the cache.
AttAhead AttPlan(const AttHead& h, const AttRange& t, int64_t at, int64_t real, int64_t width, int64_t j0, bool append) {
  const int64_t c = h.width, bytes = c * 4, n = std::min(kAttKeys, t.most - j0), j1 = j0 + n;
  AttAhead ahead(bytes, (n + AttChannels(c)) / kAttGroup);
  const int64_t next = at + width;
  if (j0 == 0) ahead.add(h.qkv + (t.r0 + next) * h.stride, h.stride * 4, std::min(t.rows - next, kAttVectors * AttLanes()));
  if (j1 == t.most) ahead.add(h.y + (t.r0 + at) * h.yStride, h.yStride * 4, real);
  const int64_t keys = std::min(kAttKeys, t.most - j1), first = j1 + keys * at / t.lanes, last = j1 + keys * next / t.lanes;
  if (h.cacheType == DType::f32 && first < h.cached) {
    ahead.add(h.kCache + first * bytes, bytes, std::min(last, h.cached) - first);
    ahead.add(h.vCache + first * bytes, bytes, std::min(last, h.cached) - first);
  }
  const int64_t fresh = std::max(first, append ? h.pos : h.cached);
  const float* row = h.qkv + (fresh - h.pos) * h.stride;
  ahead.add(row + h.kAt, h.stride * 4, last - fresh);
  ahead.add(row + h.vAt, h.stride * 4, last - fresh);
  return ahead;
}

// All tiles of the range against the block of keys from j0 on; the first block packs them, the last one writes them to y.
void AttBlockTiles(const AttHead& h, const AttRange& t, int64_t j0, const AttBlock& b, bool append) {
  const int64_t N = AttLanes(), c = h.width, cp = AttChannels(c), n = std::min(kAttKeys, t.most - j0);
  const AttParts& a = t.a;
  for (int64_t at = 0; at < t.lanes;) {
    const int64_t V = AttVectors(t.lanes - at), width = V ? V * N : AttNarrowLanes(), real = std::min(t.rows - at, width);
    if (j0 == 0) AttPackQuery(h, t.r0 + at, real, width, a.rows, a.q + at * c);
    AttAhead ahead = AttPlan(h, t, at, real, width, j0, append);
    const auto tile = V == 0 ? AttTile<1, AttNarrow> : V == 1 ? AttTile<1, AttF> : V == 2 ? AttTile<2, AttF> : AttTile<kAttVectors, AttF>;
    tile(h, t.r0 + at, real, j0, n, b, ahead, a.s, a.q + at * c, a.o + at * cp, a.sum + at, a.max + at);
    if (j0 + n == t.most) AttFinish(h, t.r0 + at, real, width, a.o + at * cp, a.sum + at, a.max + at);
    at += width;
  }
}

// Query rows [r0, r0 + rows) of one (batch, head); append: writes its new keys and values to the cache.
void AttTask(const AttHead& h, int64_t r0, int64_t rows, bool append, float* scratch) {
  const int64_t c = h.width, cp = AttChannels(c), lanes = AttRoundUp(rows, AttNarrowLanes());
  AttRange t = {r0, rows, lanes, 0, AttCarve(scratch, rows, c)};
  const AttParts& a = t.a;
  std::fill(a.o, a.o + lanes * cp, 0.0f);
  std::fill(a.sum, a.sum + lanes, 0.0f);
  std::fill(a.max, a.max + lanes, -std::numeric_limits<float>::infinity());
  for (int64_t r = 0; r < rows; r++) t.most = std::max(t.most, AttVisible(h, r0 + r));
  // New keys of an f32 cache are read from there, so a block of them is written just before.
  const bool blocks = append && h.cacheType == DType::f32;
  for (int64_t j0 = 0; j0 < t.most; j0 += kAttKeys) {
    const int64_t n = std::min(kAttKeys, t.most - j0);
    if (blocks) AttAppend(h, j0, j0 + n, a.rows);
    AttBlockTiles(h, t, j0, AttPrepare(h, j0, n, a), blocks);
  }
  if (append) AttAppend(h, blocks ? t.most : 0, h.keys, a.rows);
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
  a.cached = p.append && a.cacheType == DType::f32 ? a.keys : a.pos;
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

// Rows per task: equal chunks of at most 384 rows, as many as leave four tasks per thread; whole tiles of every instruction set, so that
// no row shares its tile with others than in a single task.
int64_t taskRows(const Shape& s, int threads) {
  int64_t limit = 384;
  while (limit > 48 && s.B * s.H * ((s.l + limit - 1) / limit) < 4 * threads) limit /= 2;
  const int64_t chunks = (s.l + limit - 1) / limit, rows = (s.l + chunks - 1) / chunks;
  return (rows + 47) / 48 * 48;
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
  const auto append = HWY_DYNAMIC_DISPATCH(AttAppend);
  // The task of a head that is not split appends for itself.
  if (p.append && chunks > 1) {
    ctx.pool.parallelFor(s.B * s.H, 1, [&](int64_t begin, int64_t end, int thread) {
      float* scratch = ctx.perThread[thread].floats(0, floats);
      for (int64_t i = begin; i < end; i++) append(head(call, p, s, i / s.H, i % s.H), 0, s.pos + s.l, scratch);
    });
  }
  ctx.pool.parallelFor(s.B * s.H * chunks, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = ctx.perThread[thread].floats(0, floats);
    for (int64_t i = begin; i < end; i++) {
      const AttHead h = head(call, p, s, i / chunks / s.H, i / chunks % s.H);
      const int64_t r0 = i % chunks * rows;
      task(h, r0, std::min(rows, s.l - r0), p.append && chunks == 1, scratch);
    }
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif

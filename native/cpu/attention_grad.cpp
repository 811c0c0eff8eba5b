// attention_grad: gradient of softmax(q k^T) v with respect to q, k, v and the scale per head; probabilities are computed again from lse.
// Per block of 96 keys and 48 queries: P = exp(q k^T - lse), dV += P^T dY, dP = dY V^T, dS = P * (dP - y.dy), dQ += dS K, dK += dS^T Q.
// Floor: 10 * B * H * c FLOPs per query and key it sees (measured: 70 % of the FMA rate); bytes: qkv, y, dy and dqkv once.
// A task is a (batch, head) and a range of its keys. It packs all queries once, keeps dK and dV of one block, and goes through the queries
// that see it. dQ is summed over the blocks in order; where a head is split, its ranges (chosen by the shape alone) are added in order.
// Layout: qkv, dqkv [B,l,3,H,c], y and dy [B,l,H,c], lse [B,H,l].
// Reference: FlashAttention (Dao et al. 2022, algorithm 4); q/k normalisation and scale of VAR's SelfAttention.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/attention_grad.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <cmath>

#include "native/cpu/attention_grad-inl.h"
#include "native/cpu/context.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// Scratch of one task, all parts a multiple of 16 floats.
struct GradParts {
  float *q, *dy, *qRows, *dyRows, *lse, *dot;              // of all queries
  float *k, *v, *kRows, *dk, *dv, *s, *dp, *rows, *zeros;  // of one block of keys
  float* dq;                                               // [rows][cp], last so that another place can be taken
  size_t floats;
};

int64_t GradPadded(int64_t c) { return AttRoundUp(c, std::max<int64_t>(2 * AttLanes(), 16)); }

GradParts GradCarve(float* base, int64_t l, int64_t c, bool ownDq) {
  const int64_t cp = GradPadded(c), rows = AttRoundUp(l, kGradRows);
  GradParts a;
  size_t at = 0;
  const auto take = [&](int64_t n) {
    float* p = base ? base + at : nullptr;
    at += static_cast<size_t>(AttRoundUp(n, 16));
    return p;
  };
  a.q = take(rows * c);
  a.dy = take(rows * c);
  a.qRows = take(rows * cp);
  a.dyRows = take(rows * cp);
  a.lse = take(rows);
  a.dot = take(rows);
  a.k = take(kGradKeys * c);
  a.v = take(kGradKeys * c);
  a.kRows = take(kGradKeys * cp);
  a.dk = take(kGradKeys * cp);
  a.dv = take(kGradKeys * cp);
  a.s = take(kGradRows * kGradKeys);
  a.dp = take(kGradRows * kGradKeys);
  a.rows = take(kGradKeys * cp);
  a.zeros = take(cp);
  a.dq = take(ownDq ? rows * cp : 0);
  a.floats = at;
  return a;
}

size_t AttGradScratch(int64_t l, int64_t c, bool ownDq) { return GradCarve(nullptr, l, c, ownDq).floats; }
size_t AttGradQueryFloats(int64_t l, int64_t c) { return static_cast<size_t>(AttRoundUp(l, kGradRows) * GradPadded(c)); }

// All queries and gradients as tiles [c][6] (queries scaled, in units of log 2) and as panels per block; rows behind the last are zero.
void GradPackQueries(const AttGradHead& h, const GradParts& a) {
  const AttF d;
  const int64_t c = h.width, cp = GradPadded(c), rows = AttRoundUp(h.l, kGradRows);
  const AttV factor = hn::Set(d, h.factor * 1.44269504f);
  for (int64_t t = 0; t < rows; t += kAttRows) {
    const float *q[kAttRows], *dy[kAttRows];
    for (int64_t r = 0; r < kAttRows; r++) {
      const int64_t i = t + r, block = i / kGradRows * kGradRows * cp;
      q[r] = dy[r] = a.zeros;
      if (i < h.l) {
        float *unit = a.rows + r * cp, *scaled = a.rows + (kAttRows + r) * cp;
        const float* row = h.qkv + i * h.stride;
        if (h.normalize) {
          AttNormalize(row, unit, c);
          row = unit;
        }
        dy[r] = h.dy + i * h.yStride;
        Map(d, row, scaled, c, [&](AttV v) { return hn::Mul(v, factor); });
        q[r] = scaled;
        GradPackRow(row, i % kGradRows, kGradRows, c, a.qRows + block);
        GradPackRow(dy[r], i % kGradRows, kGradRows, c, a.dyRows + block);
        a.lse[i] = h.lse[i] * 1.44269504f;
        a.dot[i] = GradDot(h.y + i * h.yStride, dy[r], c);
      } else {
        a.lse[i] = a.dot[i] = 0.0f;
      }
    }
    GradPackTile(q, c, a.q + t * c);
    GradPackTile(dy, c, a.dy + t * c);
  }
}

// Keys and values [j0, j0 + n): panels over channels of both, rows of the keys.
void GradPackBlock(const AttGradHead& h, int64_t j0, int64_t n, const GradParts& a) {
  const int64_t c = h.width, cp = GradPadded(c);
  const float *keys[kGradKeys], *values[kGradKeys];
  for (int64_t j = 0; j < n; j++) {
    const float* row = h.qkv + (j0 + j) * h.stride;
    keys[j] = row + h.kAt;
    values[j] = row + h.vAt;
    if (h.normalize) {
      AttNormalize(keys[j], a.rows + j * cp, c);
      keys[j] = a.rows + j * cp;
    }
    GradPackRow(keys[j], j, kGradKeys, c, a.kRows);
  }
  AttPackKeys(keys, n, c, a.zeros, a.k);
  AttPackKeys(values, n, c, a.zeros, a.v);
}

HWY_INLINE int64_t GradVisible(const AttGradHead& h, int64_t row) { return h.visible ? h.visible[row] : h.l; }

// Queries [i0, i0 + rows) against the packed block of keys from j0 on.
void GradBlock(const AttGradHead& h, int64_t i0, int64_t rows, int64_t j0, const GradParts& a, float* dq) {
  const int64_t c = h.width, cp = AttRoundUp(c, 2 * AttLanes()), tiles = (rows + kAttRows - 1) / kAttRows;
  int64_t most = 0;
  for (int64_t r = 0; r < rows; r++) most = std::max(most, std::min(kGradKeys, GradVisible(h, i0 + r) - j0));
  if (most <= 0) return;
  GradScores(a.q + i0 * c, tiles, a.k, c, most, a.s);
  GradScores(a.dy + i0 * c, tiles, a.v, c, most, a.dp);
  const int64_t done = AttRoundUp(most, 2 * AttLanes()), end = AttRoundUp(most, kAttRows);
  for (int64_t r = 0; r < tiles * kAttRows; r++) {
    float *s = a.s + r * kGradKeys, *dp = a.dp + r * kGradKeys;
    const int64_t limit = r < rows ? std::clamp<int64_t>(GradVisible(h, i0 + r) - j0, 0, most) : 0;
    GradSoftmaxRow(s, dp, done, limit, a.lse[i0 + r], a.dot[i0 + r]);
    // Tiles of 6 keys may end behind the last vector.
    for (int64_t j = done; j < end; j++) s[j] = dp[j] = 0.0f;
  }
  GradKeys(a.s, rows, most, a.dyRows + i0 * GradPadded(c), cp, a.dv);
  GradKeys(a.dp, rows, most, a.qRows + i0 * GradPadded(c), cp, a.dk);
  GradQueries(a.dp, tiles, most, a.kRows, cp, dq + i0 * cp);
}

// Keys [first, last) of one (batch, head), first a multiple of the block. dq, else the scratch: what these keys add, [rows][cp].
void AttGradTask(const AttGradHead& h, int64_t first, int64_t last, float* scratch, float* dq) {
  const int64_t c = h.width, cp = AttRoundUp(c, 2 * AttLanes());
  const GradParts a = GradCarve(scratch, h.l, c, !dq);
  if (!dq) dq = a.dq;
  std::fill(a.zeros, a.zeros + c, 0.0f);
  std::fill(dq, dq + AttRoundUp(h.l, kGradRows) * cp, 0.0f);
  GradPackQueries(h, a);
  for (int64_t j0 = first; j0 < last; j0 += kGradKeys) {
    const int64_t n = std::min(kGradKeys, last - j0);
    GradPackBlock(h, j0, n, a);
    std::fill(a.dk, a.dk + kGradKeys * cp, 0.0f);
    std::fill(a.dv, a.dv + kGradKeys * cp, 0.0f);
    for (int64_t i0 = 0; i0 < h.l; i0 += kGradRows) GradBlock(h, i0, std::min(kGradRows, h.l - i0), j0, a, dq);
    for (int64_t j = 0; j < n; j++) {
      float* to = h.dqkv + (j0 + j) * h.stride;
      GradNormalize(h.qkv + (j0 + j) * h.stride + h.kAt, a.dk + j * cp, h.factor, h.normalize, a.rows, to + h.kAt, c);
      std::copy(a.dv + j * cp, a.dv + j * cp + c, to + h.vAt);
    }
  }
}

// Rows of dq from `parts` sums [l rounded up][cp] that lie one behind the other; the first is overwritten. Returns the gradient of the
// logarithm of the scale.
double AttGradQueries(const AttGradHead& h, int64_t parts, float* dq, float* unit) {
  const AttF d;
  const int64_t c = h.width, cp = AttRoundUp(c, 2 * AttLanes());
  const size_t step = AttGradQueryFloats(h.l, c);
  double scale = 0;
  for (int64_t i = 0; i < h.l; i++) {
    float* row = dq + i * cp;
    for (int64_t p = 1; p < parts; p++)
      Map2(d, row, row + static_cast<size_t>(p) * step, row, cp, [](AttV x, AttV y) { return hn::Add(x, y); });
    scale += GradNormalize(h.qkv + i * h.stride, row, h.factor, h.normalize, unit, h.dqkv + i * h.stride, c);
  }
  return scale;
}

// The task of a head that is not split: keys, values and queries.
double AttGradWhole(const AttGradHead& h, float* scratch) {
  AttGradTask(h, 0, h.l, scratch, nullptr);
  const GradParts a = GradCarve(scratch, h.l, h.width, true);
  return AttGradQueries(h, 1, a.dq, a.rows);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(AttGradScratch);
HWY_EXPORT(AttGradQueryFloats);
HWY_EXPORT(AttGradTask);
HWY_EXPORT(AttGradQueries);
HWY_EXPORT(AttGradWhole);

namespace {

constexpr int64_t kGradTasks = 16;  // wanted at least, whatever the threads: fewer heads are split by keys

struct GradShape {
  int64_t B, l, H, c;
};

AttGradHead gradHead(const NsCall& call, const op::attention_grad::Params& p, const GradShape& s, int64_t index) {
  namespace I = op::attention_grad::in;
  const int64_t b = index / s.H, h = index % s.H;
  AttGradHead a = {};
  a.stride = 3 * s.H * s.c;
  a.qkv = in<float>(call, I::qkv) + b * s.l * a.stride + h * s.c;
  a.dqkv = out<float>(call, op::attention_grad::out::dqkv) + b * s.l * a.stride + h * s.c;
  a.kAt = s.H * s.c;
  a.vAt = 2 * s.H * s.c;
  a.yStride = s.H * s.c;
  a.y = in<float>(call, I::y) + b * s.l * a.yStride + h * s.c;
  a.dy = in<float>(call, I::dy) + b * s.l * a.yStride + h * s.c;
  a.lse = in<float>(call, I::lse) + index * s.l;
  a.l = s.l;
  a.width = s.c;
  if (const NsTensor* t = input(call, I::visible)) a.visible = static_cast<const int32_t*>(t->data);
  double factor = p.scale;
  if (const NsTensor* t = input(call, I::scaleMul)) {
    a.normalize = true;
    factor *= std::exp(static_cast<double>(std::min(static_cast<const float*>(t->data)[h], p.maxScaleMul)));
  }
  a.factor = static_cast<float>(factor);
  return a;
}

Status checkGrad(const NsCall& call, const op::attention_grad::Params& p, const GradShape& s) {
  namespace I = op::attention_grad::in;
  if (s.H < 1 || s.c < 1) return failure(NS_INVALID, "[attention_grad] heads %d, width %d: both must be positive", p.heads, p.width);
  if (input(call, I::dScaleMul) && !input(call, I::scaleMul)) return failure(NS_INVALID, "[attention_grad] dScaleMul needs scaleMul");
  const NsTensor* t = input(call, I::visible);
  const int32_t* visible = t ? static_cast<const int32_t*>(t->data) : nullptr;
  for (int64_t i = 0; visible && i < s.l; i++) {
    if (visible[i] < 1 || visible[i] > s.l) {
      return failure(NS_INDEX, "[attention_grad] visible[%lld] is %d, accepted: 1 to %lld", (long long)i, visible[i], (long long)s.l);
    }
  }
  return {};
}

// Adds to dScaleMul what the heads found, image by image, where the scale is not clamped.
void addScale(const NsCall& call, const op::attention_grad::Params& p, const GradShape& s, const double* scale) {
  namespace I = op::attention_grad::in;
  if (!input(call, I::dScaleMul)) return;
  const float* mul = in<float>(call, I::scaleMul);
  float* to = mut<float>(call, I::dScaleMul);
  for (int64_t h = 0; h < s.H; h++) {
    double sum = 0;
    for (int64_t b = 0; b < s.B; b++) sum += scale[b * s.H + h];
    if (mul[h] <= p.maxScaleMul) to[h] = static_cast<float>(to[h] + sum);
  }
}

}  // namespace

namespace kernels {

Status attention_grad(Context& ctx, const NsCall& call, const op::attention_grad::Params& p) {
  const NsTensor& qkv = call.in[op::attention_grad::in::qkv];
  const GradShape s = {qkv.dims[0], qkv.dims[1], p.heads, p.width};
  if (Status st = checkGrad(call, p, s); !st.ok()) return st;
  if (s.B == 0 || s.l == 0) return {};
  const int64_t heads = s.B * s.H, blocks = (s.l + kGradKeys - 1) / kGradKeys;
  const int64_t wanted = std::min(blocks, (kGradTasks + heads - 1) / heads);
  const int64_t keys = (blocks + wanted - 1) / wanted * kGradKeys, parts = (s.l + keys - 1) / keys;
  const size_t floats = HWY_DYNAMIC_DISPATCH(AttGradScratch)(s.l, s.c, parts == 1);
  for (int t = 0; t < ctx.pool.threads(); t++) ctx.perThread[t].floats(0, floats);
  double* scale = static_cast<double*>(ctx.shared.bytes(0, static_cast<size_t>(heads) * sizeof(double)));
  if (parts == 1) {
    const auto whole = HWY_DYNAMIC_DISPATCH(AttGradWhole);
    ctx.pool.parallelFor(heads, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t i = begin; i < end; i++) scale[i] = whole(gradHead(call, p, s, i), ctx.perThread[thread].floats(0, floats));
    });
  } else {
    const size_t step = HWY_DYNAMIC_DISPATCH(AttGradQueryFloats)(s.l, s.c);
    float* sums = ctx.shared.floats(1, static_cast<size_t>(heads * parts) * step);
    const auto task = HWY_DYNAMIC_DISPATCH(AttGradTask);
    ctx.pool.parallelFor(heads * parts, 1, [&](int64_t begin, int64_t end, int thread) {
      float* scratch = ctx.perThread[thread].floats(0, floats);
      for (int64_t i = begin; i < end; i++) {
        const int64_t first = i % parts * keys;
        task(gradHead(call, p, s, i / parts), first, std::min(s.l, first + keys), scratch, sums + static_cast<size_t>(i) * step);
      }
    });
    const auto queries = HWY_DYNAMIC_DISPATCH(AttGradQueries);
    ctx.pool.parallelFor(heads, 1, [&](int64_t begin, int64_t end, int thread) {
      float* scratch = ctx.perThread[thread].floats(0, floats);
      for (int64_t i = begin; i < end; i++)
        scale[i] = queries(gradHead(call, p, s, i), parts, sums + static_cast<size_t>(i * parts) * step, scratch);
    });
  }
  addScale(call, p, s, scale);
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif

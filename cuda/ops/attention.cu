// attention: softmax(q k^T) v over cached and new keys. Chooses the kernel and lays out what it reads:
// 16-bit qkv of a width that is a multiple of 8 up to 128 goes to the tensor cores (cuda/kernels/attention_mma.cuh), which take keys and
// values in qkv's dtype: normalised keys, and caches of another dtype, are written to scratch before; keys that are appended to a cache
// of the same dtype are read from there. Of these, width 64 goes to cuda/kernels/attention_hopper.cuh on a device of compute capability
// 9.0, where the environment asks for it. All else goes to f32 arithmetic (cuda/kernels/attention_simt.cuh).
#include <algorithm>

#include "cuda/common/dispatch.h"
#include "cuda/kernels/attention_mma.cuh"
#include "cuda/kernels/attention_simt.cuh"
#include "cuda/ops/attention_hopper.h"

namespace ns::cuda {
namespace {

using P = op::attention::Params;
namespace I = op::attention::in;

struct Plan {
  att::Shape s;
  att::Rows q, y, freshK, freshV, cachedK, cachedV;
  const NsTensor* cache;  // of the keys
  int64_t rows;           // of the caches
  bool append;
  float* lse;
};

Status check(const NsCall& call, const P& p, int64_t l) {
  const NsTensor *k = input(call, I::kCache), *v = input(call, I::vCache);
  if (p.heads < 1 || p.width < 1) return failure(NS_INVALID, "[attention] heads %d, width %d: both must be positive", p.heads, p.width);
  if (!k != !v) return failure(NS_INVALID, "[attention] kCache and vCache must be given together");
  if (!k && (p.pos != 0 || p.append)) return failure(NS_INVALID, "[attention] pos %d, append %d: needs kCache and vCache", p.pos, p.append);
  if (k && k->dtype != v->dtype) return failure(NS_INVALID, "[attention] kCache and vCache have different dtypes");
  if (p.pos < 0 || (k && p.pos + (p.append ? l : 0) > k->dims[2])) {
    return failure(NS_INVALID, "[attention] pos %d with %lld new keys does not fit the cache of %lld", p.pos, static_cast<long long>(l),
                   static_cast<long long>(k ? k->dims[2] : 0));
  }
  return {};
}

Plan planOf(const NsCall& call, const P& p) {
  const NsTensor& qkv = call.in[I::qkv];
  Plan a{};
  const auto l = static_cast<int32_t>(qkv.dims[1]);
  a.s = {static_cast<int32_t>(qkv.dims[0]), l, p.heads, p.width, p.pos, p.pos + l, p.scale, p.maxScaleMul, in<float>(call, I::scaleMul),
         in<int32_t>(call, I::visible)};
  a.q = att::partOf(qkv, a.s, 0);
  a.freshK = att::partOf(qkv, a.s, 1);
  a.freshV = att::partOf(qkv, a.s, 2);
  a.y = att::outer(call.out[op::attention::out::y], a.s);
  a.cachedK = a.freshK;
  a.cachedV = a.freshV;
  a.cache = input(call, I::kCache);
  if (a.cache) {
    a.rows = a.cache->dims[2];
    a.cachedK = att::perHead(a.cache->data, dtype(*a.cache), a.s, a.rows);
    a.cachedV = att::perHead(call.in[I::vCache].data, dtype(*a.cache), a.s, a.rows);
  }
  a.append = p.append != 0;
  a.lse = mut<float>(call, I::lse);
  return a;
}

att::Rows behind(att::Rows r, int64_t rows) {
  r.data = static_cast<char*>(r.data) + rows * r.row * static_cast<int64_t>(dtypeSize(r.type));
  return r;
}

// Rows from one place to another, keys normalised where the op says so.
Status placeRows(const Context& ctx, const Plan& a, const att::Rows (&from)[2], const att::Rows (&to)[2], int32_t rows, bool fresh,
                 int parts) {
  att::Place p{};
  for (int i = 0; i < 2; i++) {
    p.from[i] = from[i];
    p.to[i] = to[i];
  }
  p.batch = a.s.batch;
  p.heads = a.s.heads;
  p.width = a.s.width;
  p.rows = rows;
  p.normalize = fresh && a.s.scaleMul;
  return rows == 0 ? Status() : att::launchPlace(ctx, p, parts);
}

// Appends to the caches and makes freshK the keys as the scores take them. type: in which dtype the kernel computes.
Status placeFresh(const Context& ctx, Plan& a, DType type) {
  const att::Rows from[2] = {a.freshK, a.freshV};
  const bool same = a.cache && dtype(*a.cache) == type;
  if (a.append) {
    const att::Rows to[2] = {behind(a.cachedK, a.s.pos), behind(a.cachedV, a.s.pos)};
    if (Status st = placeRows(ctx, a, from, to, a.s.l, true, 2); !st.ok()) return st;
    if (same) a.freshK = to[0];
  }
  if (!a.s.scaleMul || (a.append && same)) return {};
  const int64_t size = static_cast<int64_t>(a.s.batch) * a.s.heads * a.s.l * a.s.width;
  a.freshK = att::perHead(ctx.memory.bytes(0, static_cast<size_t>(size) * dtypeSize(type)), type, a.s, a.s.l);
  return placeRows(ctx, a, from, {a.freshK, a.freshK}, a.s.l, true, 1);
}

// Caches of another dtype as the tensor cores read them.
Status convertCaches(const Context& ctx, Plan& a, DType type) {
  if (!a.cache || a.s.pos == 0 || dtype(*a.cache) == type) return {};
  const int64_t size = static_cast<int64_t>(a.s.batch) * a.s.heads * a.s.pos * a.s.width;
  const att::Rows from[2] = {a.cachedK, a.cachedV};
  char* const scratch = static_cast<char*>(ctx.memory.bytes(1, 2 * static_cast<size_t>(size) * dtypeSize(type)));
  a.cachedK = att::perHead(scratch, type, a.s, a.s.pos);
  a.cachedV = att::perHead(scratch + size * static_cast<int64_t>(dtypeSize(type)), type, a.s, a.s.pos);
  return placeRows(ctx, a, from, {a.cachedK, a.cachedV}, a.s.pos, false, 2);
}

Status tooMany(int64_t blocks) {
  return failure(NS_UNSUPPORTED, "[attention] %lld tiles of rows: more than one launch takes", static_cast<long long>(blocks));
}

template <class T, int W, int kWarps, int M>
Status launchMma(const Context& ctx, const att::Forward<T>& f) {
  using Layout = att::MmaLayout<kWarps, M, W>;
  const int64_t blocks = divUp(f.s.l, Layout::kRows) * f.s.batch * f.s.heads;
  if (blocks > INT32_MAX) return tooMany(blocks);
  return launch(ctx, att::attentionMma<T, W, kWarps, M>, {dim3(static_cast<unsigned>(blocks)), dim3(Layout::kThreads), Layout::kBytes}, f);
}

// 128 rows per block where that still fills the device twice (each fragment of keys then serves two products), else 64, else 32.
template <class T>
Status onTensorCores(const Context& ctx, const Plan& a) {
  att::Forward<T> f = {a.s, a.q, a.y, a.cachedK, a.cachedV, a.freshK, a.freshV, a.lse, ctx.error, ctx.op};
  if (a.s.width == 64 && a.s.scale > 0 && hopperWanted(ctx)) {
    if (a.append && dtype(*a.cache) == kDType<T>) f.freshV = behind(a.cachedV, a.s.pos);  // as freshK
    return attentionOnHopper(ctx, f);
  }
  const int64_t heads = static_cast<int64_t>(a.s.batch) * a.s.heads;
  const bool many = heads * divUp(a.s.l, 64) >= ctx.sms;
  if (a.s.width > 64) return launchMma<T, 128, 4, 1>(ctx, f);
  if (a.s.l > 64 && heads * divUp(a.s.l, 128) >= 2 * ctx.sms) return launchMma<T, 64, 4, 2>(ctx, f);
  return many && a.s.l > 32 ? launchMma<T, 64, 4, 1>(ctx, f) : launchMma<T, 64, 2, 1>(ctx, f);
}

template <int G>
Status launchSimt(const Context& ctx, const att::SimtForward& f) {
  const int64_t blocks = divUp(f.s.l, att::kSide) * f.s.batch * f.s.heads;
  if (blocks > INT32_MAX) return tooMany(blocks);
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(divUp(f.s.width, G * att::kSide)));
  return launch(ctx, att::attentionSimt<G>, {grid, dim3(att::kSimtThreads), 3 * att::kTileFloats * sizeof(float)}, f);
}

Status inF32(const Context& ctx, const Plan& a) {
  att::SimtForward f = {a.s, a.q, a.y, a.cachedK, a.cachedV, a.freshK, a.freshV, a.lse, ctx.error, ctx.op, true};
  for (const att::Rows& r : {a.q, a.y, a.cachedK, a.cachedV, a.freshK, a.freshV}) f.vector &= att::wholeVectors(r, a.s.width, 4);
  if (a.s.width <= 64) return launchSimt<1>(ctx, f);
  return a.s.width <= 128 ? launchSimt<2>(ctx, f) : launchSimt<4>(ctx, f);
}

}  // namespace

Status ops::attention(const Context& ctx, const NsCall& call, const P& p) {
  const NsTensor& qkv = call.in[I::qkv];
  if (Status st = check(call, p, qkv.dims[1]); !st.ok()) return st;
  if (qkv.dims[0] == 0 || qkv.dims[1] == 0) return {};
  Plan a = planOf(call, p);
  bool tensor = dtype(qkv) != DType::f32 && p.width <= 128;
  for (const att::Rows& r : {a.q, a.freshK, a.freshV, a.cachedK, a.cachedV, a.y}) tensor &= att::wholeVectors(r, p.width, 8);
  const DType type = tensor ? dtype(qkv) : DType::f32;
  if (Status st = placeFresh(ctx, a, type); !st.ok()) return st;
  if (!tensor) return inF32(ctx, a);
  if (Status st = convertCaches(ctx, a, type); !st.ok()) return st;
  return type == DType::f16 ? onTensorCores<f16>(ctx, a) : onTensorCores<bf16>(ctx, a);
}

}  // namespace ns::cuda

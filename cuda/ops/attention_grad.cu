// attention_grad: gradient of attention with respect to qkv and the scale per head. Chooses between tensor cores (16-bit qkv, width a
// multiple of 8 up to 64: cuda/kernels/attention_grad_mma.cuh) and f32 arithmetic (cuda/kernels/attention_grad_simt.cuh), and lays out
// what both read. Scratch: slot 0 normalised keys, slot 1 values per row, slots 2 and 3 gradients of normalised rows (f32 path).
#include "cuda/common/dispatch.h"
#include "cuda/kernels/attention_grad_mma.cuh"
#include "cuda/kernels/attention_grad_simt.cuh"

namespace ns::cuda {
namespace {

using P = op::attention_grad::Params;
namespace I = op::attention_grad::in;

struct Plan {
  att::Backward b;
  att::Rows y;
  att::Rows dq, dk;  // in dqkv
  float *dot, *qLength, *kLength;
  int32_t* most;
  float* dScaleMul;
};

bool allVectors(const Plan& a, int n) {
  bool ok = true;
  for (const att::Rows& r : {a.b.q, a.b.k, a.b.v, a.b.dy, a.y, a.b.dq, a.b.dk, a.b.dv, a.dq, a.dk}) {
    ok &= att::wholeVectors(r, a.b.s.width, n);
  }
  return ok;
}

Plan planOf(const Context& ctx, const NsCall& call, const P& p) {
  const NsTensor &qkv = call.in[I::qkv], &dqkv = call.out[op::attention_grad::out::dqkv];
  Plan a{};
  const auto l = static_cast<int32_t>(qkv.dims[1]);
  att::Shape& s = a.b.s;
  s = {static_cast<int32_t>(qkv.dims[0]), l, p.heads, p.width, 0, l, p.scale, p.maxScaleMul, in<float>(call, I::scaleMul),
       in<int32_t>(call, I::visible)};
  a.b.q = att::partOf(qkv, s, 0);
  a.b.k = att::partOf(qkv, s, 1);
  a.b.v = att::partOf(qkv, s, 2);
  a.b.dq = a.dq = att::partOf(dqkv, s, 0);
  a.b.dk = a.dk = att::partOf(dqkv, s, 1);
  a.b.dv = att::partOf(dqkv, s, 2);
  a.b.dy = att::outer(call.in[I::dy], s);
  a.y = att::outer(call.in[I::y], s);
  a.b.lse = in<float>(call, I::lse);
  a.dScaleMul = mut<float>(call, I::dScaleMul);
  const int64_t rows = static_cast<int64_t>(s.batch) * s.heads * l, tiles = divUp(l, att::kGradTile);
  a.dot = ctx.scratch<float>(1, static_cast<size_t>(4 * rows + tiles));
  a.b.dot = a.dot;
  if (s.scaleMul) {
    a.b.qLength = a.qLength = a.dot + rows;
    a.b.kLength = a.kLength = a.dot + 2 * rows;
    a.b.rowScale = a.dScaleMul ? a.dot + 3 * rows : nullptr;
  }
  if (s.visible) a.b.most = a.most = reinterpret_cast<int32_t*>(a.dot + 4 * rows);
  return a;
}

// A group of lanes per row.
dim3 rowGrid(const att::Shape& s, int parts = 1) {
  const int64_t rows = static_cast<int64_t>(s.batch) * s.heads * s.l;
  return dim3(static_cast<unsigned>(divUp(rows * att::lanesPerRow(s.width), 256)), static_cast<unsigned>(parts));
}

// What is known per row before the passes; normalised keys as the passes take them.
Status prepare(const Context& ctx, Plan& a, DType type) {
  const att::Shape& s = a.b.s;
  att::GradRows g = {s, a.b.q, a.y, a.b.dy, a.dot, a.qLength, true};
  for (const att::Rows& r : {g.q, g.y, g.dy}) g.vector &= att::wholeVectors(r, s.width, att::kPlaceGroup);
  if (Status st = launch(ctx, att::gradRows, {rowGrid(s), dim3(256)}, g); !st.ok()) return st;
  if (s.visible) {
    const dim3 tiles(static_cast<unsigned>(divUp(s.l, att::kGradTile)));
    if (Status st = launch(ctx, att::tileSeen, {tiles, dim3(att::kGradTile)}, s, a.most, ctx.error, ctx.op); !st.ok()) return st;
  }
  if (!s.scaleMul) return {};
  att::Place p{};
  p.from[0] = a.b.k;
  const int64_t size = static_cast<int64_t>(s.batch) * s.heads * s.l * s.width;
  p.to[0] = a.b.k = att::perHead(ctx.memory.bytes(0, static_cast<size_t>(size) * dtypeSize(type)), type, s, s.l);
  p.batch = s.batch;
  p.heads = s.heads;
  p.rows = s.l;
  p.width = s.width;
  p.normalize = true;
  p.norm = a.kLength;
  return att::launchPlace(ctx, p, 1);
}

template <class T>
Status onTensorCores(const Context& ctx, const Plan& a, int64_t blocks) {
  const att::Backward& b = a.b;
  const cuda::Shape shape = {dim3(static_cast<unsigned>(blocks)), dim3(att::kGradThreads), att::kGradBytes};
  if (Status st = launch(ctx, att::keysMma<T>, shape, b); !st.ok()) return st;
  return launch(ctx, att::queriesMma<T>, shape, b);
}

Status inF32(const Context& ctx, Plan& a, int64_t blocks) {
  const att::Shape& s = a.b.s;
  const auto size = static_cast<size_t>(s.batch) * static_cast<size_t>(s.heads) * static_cast<size_t>(s.l) * static_cast<size_t>(s.width);
  if (s.scaleMul) {
    a.b.dq = att::perHead(ctx.scratch<float>(2, size), DType::f32, s, s.l);
    a.b.dk = att::perHead(ctx.scratch<float>(3, size), DType::f32, s, s.l);
  }
  a.b.vector = allVectors(a, 4);
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(divUp(s.width, att::kSide)));
  const dim3 block(att::kSimtThreads);
  constexpr size_t kTile = att::kTileFloats * sizeof(float);
  if (Status st = launch(ctx, att::keysSimt, {grid, block, 3 * kTile}, a.b); !st.ok()) return st;
  if (Status st = launch(ctx, att::queriesSimt, {grid, block, 2 * kTile}, a.b); !st.ok() || !s.scaleMul) return st;
  const att::Rows& q = a.b.q;
  att::Rows k = q;
  k.data = static_cast<char*>(q.data) + static_cast<int64_t>(s.heads) * s.width * static_cast<int64_t>(dtypeSize(q.type));
  const att::Project p = {s, {q, k}, {a.b.dq, a.b.dk}, {a.dq, a.dk}, a.b.rowScale, allVectors(a, att::kPlaceGroup)};
  return launch(ctx, att::projectRows, {rowGrid(s, 2), dim3(256)}, p);
}

}  // namespace

Status ops::attention_grad(const Context& ctx, const NsCall& call, const P& p) {
  const NsTensor& qkv = call.in[I::qkv];
  if (p.heads < 1 || p.width < 1) {
    return failure(NS_INVALID, "[attention_grad] heads %d, width %d: both must be positive", p.heads, p.width);
  }
  if (input(call, I::dScaleMul) && !input(call, I::scaleMul)) return failure(NS_INVALID, "[attention_grad] dScaleMul needs scaleMul");
  if (qkv.dims[0] == 0 || qkv.dims[1] == 0) return {};
  Plan a = planOf(ctx, call, p);
  const att::Shape& s = a.b.s;
  const int64_t blocks = divUp(s.l, att::kGradTile) * s.batch * s.heads;
  if (blocks > INT32_MAX) {
    return failure(NS_UNSUPPORTED, "[attention_grad] %lld tiles of rows: more than one launch takes", static_cast<long long>(blocks));
  }
  const bool tensor = dtype(qkv) != DType::f32 && p.width <= att::kGradWidth && allVectors(a, 8);
  const DType type = tensor ? dtype(qkv) : DType::f32;
  if (Status st = prepare(ctx, a, type); !st.ok()) return st;
  Status st = !tensor              ? inF32(ctx, a, blocks)
              : type == DType::f16 ? onTensorCores<f16>(ctx, a, blocks)
                                   : onTensorCores<bf16>(ctx, a, blocks);
  if (!st.ok() || !a.dScaleMul) return st;
  return launch(ctx, att::addScale, {dim3(static_cast<unsigned>(s.heads)), dim3(att::kScaleThreads)}, s, a.b.rowScale, a.dScaleMul);
}

}  // namespace ns::cuda

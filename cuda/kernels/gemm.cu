// Which tile and how many splits of k; the sum of the splits.
// Floor of the sum: one read of the partial products. A split costs 8 bytes per output and part, so k is split only while tiles leave SMs
// idle.
#include <algorithm>

#include "cuda/common/launch.h"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemm_sum.cuh"
#include "cuda/kernels/gemm_tile.cuh"
#include "cuda/kernels/walk.h"

namespace ns::cuda::gemm {
namespace {

constexpr int64_t kDepthUnit = 64;  // every tile's step along k divides it
// A shorter k is never split: a second pass would cost more, and a row has the same bits whatever the number of rows.
constexpr int64_t kShortest = 1024;
constexpr int64_t kMostScratch = int64_t{256} << 20;

template <class T>
int64_t tiles(const Gemm& g) {
  return divUp(g.m, T::kM) * divUp(g.n, T::kN) * g.batch;
}

// Parts of a tile that its last block may sum.
template <class T>
int64_t mostAlone(const Gemm& g) {
  return kMostAlone / (std::clamp<int64_t>(g.m, 1, T::kM) * T::kN * 4);
}

// As runMath chooses.
bool onTensorCores(const Gemm& g, const Plan& p) { return halves(g) || (g.tf32 && p.size != Size::small); }

bool sumsAlone(const Context& ctx, const Gemm& g, const Plan& p) {
  const auto fits = [&](auto tile, int64_t count) { return count <= kTickets && p.splits <= mostAlone<decltype(tile)>(g); };
  if (!ctx.tickets) return false;
  switch (sizeToRun(p.size, g.alongA && g.alongB, p.fast, halves(g), onTensorCores(g, p))) {
    case Size::small: return fits(Small(), tiles<Small>(g));
    case Size::few: return fits(Few(), tiles<Few>(g));
    case Size::large: return fits(Large(), tiles<Large>(g));
    default: return fits(Medium(), tiles<Medium>(g));
  }
}

// Parts of k that bring `blocks` to about `wanted`, none shorter than `shortest`.
int splitsFor(const Gemm& g, int64_t blocks, int64_t wanted, int64_t shortest) {
  if (g.k < kShortest) return 1;
  const int64_t room = kMostScratch / std::max<int64_t>(1, g.m * g.n * g.batch * 4);
  return static_cast<int>(std::max<int64_t>(1, std::min({wanted / std::max<int64_t>(1, blocks), g.k / shortest, room, int64_t{64}})));
}

// A thread per step: `width` columns of a row. row: steps of a row; lines: rows of a product.
template <int WIDTH>
__global__ void sumParts(const float* partial, Parts parts, int64_t steps, int n, Divider row, Divider lines, Epilogue e) {
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < steps;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t line = row.quotient(i);
    const int z = static_cast<int>(lines.quotient(line)), y = static_cast<int>(line - z * lines.d);
    const int col = static_cast<int>(i - line * row.d) * WIDTH;
    if constexpr (WIDTH == 1) {
      e.storeOne(z, y, col, sumOne(partial + line * n + col, parts));
    } else {
      const float* const from[1] = {partial + line * n + col};
      Pack<float, 4> v[1];
      const Epilogue::Beside beside = e.load(z, y, col);
      sumQuads(from, parts, v);
      e.store(z, y, col, v[0], beside);
    }
  }
}

template <class T>
__global__ void toSingle(const T* from, float* to, int64_t quads) {
  for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < quads;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const Pack<T, 4> p = loadPack<4>(from + i * 4);
    Pack<float, 4> v;
#pragma unroll
    for (int j = 0; j < 4; j++) v.v[j] = toFloat(p.v[j]);
    storePack<4>(to + i * 4, v);
  }
}

// An operand of `count` contiguous elements as f32 in a scratch slot, where its alignment allows.
Status widenOne(const Context& ctx, Matrix& m, int64_t count, int slot) {
  if (m.type == DType::f32 || count % 4 != 0 || reinterpret_cast<uintptr_t>(m.data) % 8 != 0) return Status();
  float* to = ctx.scratch<float>(slot, static_cast<size_t>(count));
  Shape shape;
  shape.grid = gridFor(ctx, divUp(count / 4, 256));
  shape.block = dim3(256);
  const Status s = m.type == DType::f16 ? launch(ctx, toSingle<f16>, shape, static_cast<const f16*>(m.data), to, count / 4)
                                        : launch(ctx, toSingle<bf16>, shape, static_cast<const bf16*>(m.data), to, count / 4);
  m.data = to;
  m.type = DType::f32;
  return s;
}

template <bool ALONG_A, bool ALONG_B>
Status runMath(const Context& ctx, const Gemm& g, const Plan& p) {
  if (halves(g)) {
    if (g.a.type == DType::f16) return run<Half<f16>, ALONG_A, ALONG_B>(ctx, g, p);
    return run<Half<bf16>, ALONG_A, ALONG_B>(ctx, g, p);
  }
  if (onTensorCores(g, p)) return run<Tf32, ALONG_A, ALONG_B>(ctx, g, p);
  return run<Exact, ALONG_A, ALONG_B>(ctx, g, p);
}

}  // namespace

Plan split(Plan p, int64_t k, int splits) {
  p.depth = static_cast<int>(std::max(kDepthUnit, divUp(divUp(k, splits), kDepthUnit) * kDepthUnit));
  p.splits = static_cast<int>(std::max<int64_t>(1, divUp(k, p.depth)));
  return p;
}

Plan plan(const Context& ctx, const Gemm& g) {
  Plan p;
  const DType element = halves(g) ? g.a.type : DType::f32;
  p.fast = g.a.aligned(element, g.alongA ? g.k : g.m) && g.b.aligned(element, g.alongB ? g.k : g.n);
  const int64_t sms = std::max(1, ctx.sms);
  if (g.m <= Small::kM && g.alongA && g.alongB && (p.fast || element == DType::f32)) {
    p.size = Size::small;
    return split(p, g.k, splitsFor(g, tiles<Small>(g), 4 * sms, 128));
  }
  if (g.m <= Few::kM && g.alongA && g.alongB && p.fast && halves(g) && tiles<Medium>(g) < 2 * sms) {
    p.size = Size::few;
    return split(p, g.k, splitsFor(g, tiles<Few>(g), 4 * sms, 256));
  }
  if (p.fast && g.m > Medium::kM && g.n > Medium::kN) {
    const int splits = splitsFor(g, tiles<Large>(g), 2 * sms, 512);
    if (tiles<Large>(g) * splits >= sms) {
      p.size = Size::large;
      return split(p, g.k, tiles<Large>(g) >= sms ? 1 : splits);
    }
  }
  if (tiles<Medium>(g) >= sms) return split(p, g.k, 1);
  const int splits = splitsFor(g, tiles<Medium>(g), 4 * sms, 256);
  const bool enough = tiles<Medium>(g) * mostAlone<Medium>(g) * 2 >= 3 * sms;  // blocks, without more parts than one of them can sum
  return split(p, g.k, enough ? static_cast<int>(std::min<int64_t>(splits, mostAlone<Medium>(g))) : splits);
}

Status widen(const Context& ctx, Gemm& g, int64_t least) {
  if (halves(g) || (g.a.type == DType::f32 && g.b.type == DType::f32)) return Status();
  const int64_t perBatch[2] = {g.m * g.k, g.n * g.k};
  if (static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k * g.batch) < static_cast<double>(least))
    return Status();
  if (g.a.pitch != (g.alongA ? g.k : g.m) || g.b.pitch != (g.alongB ? g.k : g.n)) return Status();
  if (g.batch > 1 && (g.a.batch != perBatch[0] || g.b.batch != perBatch[1])) return Status();
  const Status s = widenOne(ctx, g.a, perBatch[0] * g.batch, 3);
  return s.ok() ? widenOne(ctx, g.b, perBatch[1] * g.batch, 4) : s;
}

Status sumPartial(const Context& ctx, const float* partial, int splits, int64_t batch, int64_t m, int64_t n, const Epilogue& e) {
  const bool fours = e.byFours(static_cast<int>(n));
  const int64_t perRow = fours ? n / 4 : n, steps = batch * m * perRow;
  if (steps == 0) return Status();
  Shape shape;
  shape.grid = gridFor(ctx, divUp(steps, 128));
  shape.block = dim3(128);
  return launch(ctx, fours ? sumParts<4> : sumParts<1>, shape, partial, Parts{splits, batch * m * n}, steps, static_cast<int>(n),
                Divider(perRow, steps), Divider(m, steps), e);
}

Status enqueue(const Context& ctx, const Gemm& g) { return enqueue(ctx, g, plan(ctx, g)); }

Status enqueue(const Context& ctx, const Gemm& g, Plan p) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return Status();
  constexpr int64_t kMost = 0x7fffff00;  // a tile past the end still counts in 32 bits
  if (g.m > kMost || g.n > kMost || g.k > kMost || divUp(g.m, Small::kM) * divUp(g.n, Medium::kN) > kMost) {
    return failure(NS_UNSUPPORTED, "a product of %lld x %lld over %lld is too large for this device", static_cast<long long>(g.m),
                   static_cast<long long>(g.n), static_cast<long long>(g.k));
  }
  if (p.splits > 1) {
    p.partial = ctx.scratch<float>(0, static_cast<size_t>(p.splits * g.batch * g.m * g.n));
    if (sumsAlone(ctx, g, p)) p.tickets = ctx.tickets;
  }
  const Status s = g.alongA   ? g.alongB ? runMath<true, true>(ctx, g, p) : runMath<true, false>(ctx, g, p)
                     : g.alongB ? failure(NS_INTERNAL, "no product of columns by rows")
                              : runMath<false, false>(ctx, g, p);
  if (!s.ok() || p.splits == 1 || p.tickets) return s;
  return sumPartial(ctx, p.partial, p.splits, g.batch, g.m, g.n, g.epilogue);
}

}  // namespace ns::cuda::gemm

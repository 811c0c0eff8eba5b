// Which tile and which loaders a convolution takes. Floor: 2 pixels k k I O FLOP, for the forward pass as for the weight's gradient, at the
// peak of the arithmetic (f16 and bf16: tensor cores; f32: FMA, or tf32 tensor cores); bytes of x, w and y bound the narrow layers. Peers
// are compared by bench/gpu; no library is called. Instantiated by cuda/ops/conv_*.cu.
// The sum of an output runs over (ky, kx, i) in order for every tile: neither the batch nor the tile changes its bits.
#pragma once
#include <algorithm>
#include <cmath>

#include "cuda/kernels/conv_load.cuh"
#include "cuda/kernels/gemm_kernel.cuh"
#include "cuda/ops/conv.h"

namespace ns::cuda::conv {

using gemm::Fast;
using gemm::Matrix;
using gemm::Product;

// The published tokenizers have 160, 320 and 640 channels; 128 leaves 3/8 of the second tile empty at 160.
template <bool TENSOR>
struct Tiles {
  using Wide = gemm::Tile<128, 160, 32, 80, 64, 4>;
  using Large = gemm::Large;
};
// FMA kernels hold whole lines of operands in registers; larger warp tiles spill on sm_90.
template <>
struct Tiles<false> {
  using Wide = gemm::Tile<64, 160, 32, 40, 64, 4>;
  using Large = gemm::Tile<128, 128, 32, 64, 64, 4>;
};
using Narrow = gemm::Tile<128, 16, 16, 16, 64, 4>;  // an image's 3 channels
using WideOutputs = gemm::Tile<160, 128, 32, 64, 64, 4>;

// Relative time of a product with this tile: the work of the busiest multiprocessor, weighted by how well a tile uses the arithmetic.
template <class T>
double costOf(const Context& ctx, int64_t m, int64_t n, double use) {
  const double each = static_cast<double>(divUp(m, T::kM) * divUp(n, T::kN)) / ctx.sms;
  return (each < 8 ? std::ceil(each) : each) * T::kM * T::kN / use;
}

inline bool aligned(const In& t, int64_t width, int64_t chunk) { return width % chunk == 0 && aligned16(t.data); }

template <class Math, class T, class A, class B>
Status product(const Context& ctx, const A& a, const B& b, int m, int n, int k, const Epilogue& e) {
  Product<A, B> p{a, b, m, n, k, k, nullptr, 0, 0, e};
  return gemm::start<Math, T>(ctx, p, 1, 1);
}

template <class Math>
Status forward(const Context& ctx, const Forward& f) {
  using E = typename Math::Element;
  Matrix w;
  const Status s = alignWeights(ctx, f, kDType<E>, w);
  if (!s.ok()) return s;
  const int m = f.map.pixels, n = f.outputs, k = f.map.depth;
  const auto pitch = static_cast<int>(w.pitch);
  const Weights b{w.data, n, pitch, pitch};
  if (f.x.type != kDType<E> || !aligned(f.x, f.map.in, kChunk<E>)) {
    const Pixels<false> a{f.map, f.x.data, f.x.type};
    return product<Math, gemm::Medium>(ctx, a, b, m, n, k, f.epilogue);
  }
  const Pixels<true> a{f.map, f.x.data, f.x.type};
  if (n <= Narrow::kN) return product<Math, Narrow>(ctx, a, b, m, n, k, f.epilogue);
  using Wide = typename Tiles<Math::kTensor>::Wide;
  using Large = typename Tiles<Math::kTensor>::Large;
  const double wide = costOf<Wide>(ctx, m, n, 1), large = costOf<Large>(ctx, m, n, 1), medium = costOf<gemm::Medium>(ctx, m, n, 0.6);
  if (wide <= large && wide <= medium) return product<Math, Wide>(ctx, a, b, m, n, k, f.epilogue);
  if (large <= medium) return product<Math, Large>(ctx, a, b, m, n, k, f.epilogue);
  return product<Math, gemm::Medium>(ctx, a, b, m, n, k, f.epilogue);
}

// Ranges of pixels with a partial sum each: enough blocks for any device and short sums, but no more memory than kMostPartial. Chosen by
// the shapes alone, so that every device sums alike.
struct Ranges {
  int depth, count;
};
inline Ranges rangesOf(int64_t pixels, int64_t tiles, int64_t sums) {
  constexpr int64_t kBlocks = 512, kShortest = 512, kMostPartial = int64_t{1} << 26, kMultiple = 64;
  int64_t count = std::min(divUp(kBlocks, tiles), divUp(pixels, kShortest));
  count = std::max<int64_t>(1, std::min(count, kMostPartial / std::max<int64_t>(1, sums)));
  const int64_t depth = divUp(divUp(pixels, count), kMultiple) * kMultiple;
  return {static_cast<int>(depth), static_cast<int>(divUp(pixels, depth))};
}

template <class Math, class T, class A, class B>
Status rangesProduct(const Context& ctx, const A& a, const B& b, const WeightGradient& g) {
  const int m = g.outputs, n = g.map.depth;
  const int64_t sums = static_cast<int64_t>(m) * n;
  const Ranges r = rangesOf(g.map.pixels, divUp(m, T::kM) * divUp(n, T::kN), sums);
  float* partial = ctx.scratch<float>(0, static_cast<size_t>(r.count * sums));
  Product<A, B> p{a, b, m, n, g.map.pixels, r.depth, partial, 0, 0, Epilogue()};
  const Status s = gemm::start<Math, T>(ctx, p, r.count, 1);
  return s.ok() ? addPartial(ctx, g, partial, r.count) : s;
}

// By shapes alone, as the ranges are.
template <class T>
int64_t areaOf(int64_t m, int64_t n) {
  return divUp(m, T::kM) * T::kM * divUp(n, T::kN) * T::kN;
}

template <class Math>
Status weightGradient(const Context& ctx, const WeightGradient& g) {
  using E = typename Math::Element;
  constexpr DType kType = kDType<E>;
  const int m = g.outputs, n = g.map.depth;
  const Matrix dy{g.dy.data, m, 0, g.dy.type};
  if (g.x.type != kType || !aligned(g.x, g.map.in, kChunk<E>) || !dy.aligned(kType, m)) {
    const auto a = gemm::Any<false>::of(dy, g.map.pixels, m, kType);
    return rangesProduct<Math, gemm::Medium>(ctx, a, Windows<false>{g.map, g.x.data, g.x.type}, g);
  }
  const auto a = Fast<false>::of(dy, g.map.pixels, m);
  const Windows<true> b{g.map, g.x.data, g.x.type};
  const int64_t wide = areaOf<WideOutputs>(m, n), large = areaOf<gemm::Large>(m, n), medium = areaOf<gemm::Medium>(m, n) * 5 / 3;
  constexpr bool kRoom = !(Math::kTensor && sizeof(E) == 4);  // Large has no registers left for tf32 read across k
  if (wide <= medium && (wide <= large || !kRoom)) return rangesProduct<Math, WideOutputs>(ctx, a, b, g);
  if constexpr (kRoom)
    if (large <= medium) return rangesProduct<Math, gemm::Large>(ctx, a, b, g);
  return rangesProduct<Math, gemm::Medium>(ctx, a, b, g);
}

}  // namespace ns::cuda::conv

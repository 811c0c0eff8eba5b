// group_norm_grad over NHWC, with the SiLU after it.
// With xh = (x - mean) * rstd and g = dz * gamma: dx = rstd * (g - mean(g) - xh * mean(g * xh)), means over a group.
// Floor: bytes: x three times, dy twice, dx once; dz is computed twice rather than stored. Sums over positions per thread in f32, over
// threads, blocks and images in f64 in their order: the cut of an image depends on its shape alone (group.h).
// Reference: autograd of torch.nn.functional.group_norm, silu.
#include <cmath>

#include "cuda/common/reduce.h"
#include "cuda/common/shared.h"
#include "cuda/ops/columns.h"
#include "cuda/ops/group.h"

namespace ns::cuda {
namespace {

constexpr int kPairs = kAhead / 2;  // of x and dy

// What comes out of SiLU at z, turned into what goes in.
__device__ inline float siluGrad(float z, float dy) {
  const float s = 1.0f / (1.0f + expf(-z));
  return dy * (s * fmaf(z, 1.0f - s, 1.0f));
}

// f(i-th position, x - mean, dz) for the quad of channels at c.
template <class F>
__device__ inline void eachDz(const Group& g, const Place& place, const Floats& x, const Floats& dy, const Affine& a, bool silu, int c,
                              F body) {
  const int n = place.positions(g, place.lane);
  for (int i = 0; i < n; i += kPairs) {
    float v[kPairs][kQuad], d[kPairs][kQuad];
    place.read(g, x, i, n, c, v);
    place.read(g, dy, i, n, c, d);
#pragma unroll
    for (int k = 0; k < kPairs; k++) {
      if (i + k >= n) continue;
      for (int e = 0; e < kQuad; e++) {
        v[k][e] -= a.mean[e];
        if (silu) d[k][e] = siluGrad(fmaf(v[k][e], a.factor[e], a.term[e]), d[k][e]);
      }
      body(i + k, v[k], d[k]);
    }
  }
}

// part [B][blocks][2][C]: sums of dz and of dz * (x - mean).
__global__ void __launch_bounds__(kGroupThreads, 2)
    groupGradBlocks(Group g, Floats x, Floats dy, const float* affine, bool silu, float* part) {
  NS_SHARED(float, sums);
  const Place place(g);
  const int plane = g.lanes * g.C;
  for (int c = place.column * kQuad; place.works && c < g.C; c += g.columns * kQuad) {
    float s[kQuad] = {}, t[kQuad] = {};
    eachDz(g, place, x, dy, Affine(affine + place.image * 3 * g.C, g.C, c), silu, c,
           [&](int, const float(&v)[kQuad], const float(&d)[kQuad]) {
             for (int e = 0; e < kQuad; e++) {
               s[e] += d[e];
               t[e] = fmaf(d[e], v[e], t[e]);
             }
           });
    for (int e = 0; e < kQuad && c + e < g.C; e++) {
      sums[place.lane * g.C + c + e] = s[e];
      sums[plane + place.lane * g.C + c + e] = t[e];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 2 * g.C; i += static_cast<int>(blockDim.x)) {
    const float* from = sums + i / g.C * plane + i % g.C;
    double total = 0.0;
    for (int lane = 0; lane < g.lanes; lane++) total += static_cast<double>(from[lane * g.C]);
    part[int64_t{blockIdx.x} * 2 * g.C + i] = static_cast<float>(total);
  }
}

// One warp per group of an image. sums [B][2][C] become dBeta and dGamma of the image; terms [B][3][C] are a, b, c of
// dx = a * dz - (b + c * (x - mean)).
__global__ void groupTerms(Group g, const double* stats, const float* gamma, double* sums, float* terms) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, width = g.C / g.G;
  const int64_t index = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (index >= g.B * g.G) return;
  const int64_t image = index / g.G, c0 = index % g.G * width;
  const double mean = stats[index * 2], rstd = stats[index * 2 + 1], rest = mean - static_cast<double>(static_cast<float>(mean));
  double *dBeta = sums + image * 2 * g.C, *dGamma = dBeta + g.C;
  double level = 0.0, slope = 0.0;
  for (int64_t c = c0 + lane; c < c0 + width; c += kWarp) {
    dGamma[c] = rstd * (dGamma[c] - rest * dBeta[c]);
    level += gamma[c] * dBeta[c];
    slope += gamma[c] * dGamma[c];
  }
  const double n = static_cast<double>(g.P) * width;
  level = warpSum(level) * rstd / n;
  slope = warpSum(slope) * rstd * rstd / n;
  float* to = terms + image * 3 * g.C;
  for (int64_t c = c0 + lane; c < c0 + width; c += kWarp) {
    to[c] = static_cast<float>(rstd * gamma[c]);
    to[g.C + c] = static_cast<float>(level - slope * rest);
    to[2 * g.C + c] = static_cast<float>(slope);
  }
}

__global__ void __launch_bounds__(kGroupThreads, 2)
    groupGradApply(Group g, Floats x, Floats dy, const float* affine, const float* terms, bool silu, Floats dx) {
  const Place place(g);
  if (!place.works) return;
  for (int c = place.column * kQuad; c < g.C; c += g.columns * kQuad) {
    const Affine t(terms + place.image * 3 * g.C, g.C, c);
    eachDz(g, place, x, dy, Affine(affine + place.image * 3 * g.C, g.C, c), silu, c,
           [&](int i, const float(&v)[kQuad], const float(&d)[kQuad]) {
             float w[kQuad];
             for (int e = 0; e < kQuad; e++) w[e] = fmaf(t.mean[e], d[e], -fmaf(t.term[e], v[e], t.factor[e]));
             writeQuad(dx, place.at(g, i, c), g.C - c, w);
           });
  }
}

// Adds the images' sums to dGamma and dBeta, either of which may be null.
__global__ void addImages(Group g, const double* sums, float* dGamma, float* dBeta) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= g.C) return;
  double a = 0.0, b = 0.0;
  for (int64_t image = 0; image < g.B; image++) {
    b += sums[image * 2 * g.C + c];
    a += sums[(image * 2 + 1) * g.C + c];
  }
  if (dGamma) dGamma[c] = static_cast<float>(dGamma[c] + a);
  if (dBeta) dBeta[c] = static_cast<float>(dBeta[c] + b);
}

}  // namespace

namespace ops {

Status group_norm_grad(const Context& ctx, const NsCall& call, const op::group_norm_grad::Params& p) {
  namespace I = op::group_norm_grad::in;
  const NsTensor& t = call.in[I::x];
  if (p.groups < 1 || t.dims[3] % p.groups != 0)
    return failure(NS_INVALID, "[group_norm_grad] %lld channels, %d groups: does not divide", static_cast<long long>(t.dims[3]), p.groups);
  if (count(t) == 0) return Status();
  const Group g = makeGroup(t, p.groups);
  const Floats x = floats(t, g.C), dy = floats(call.in[I::dy], g.C);
  const float* gamma = in<float>(call, I::gamma);
  const bool silu = p.silu != 0;
  const size_t images = static_cast<size_t>(g.B), channels = static_cast<size_t>(g.C);
  double* stats = ctx.scratch<double>(1, images * static_cast<size_t>(g.G) * 2);
  float* affine = ctx.scratch<float>(2, images * 6 * channels);
  float* terms = affine + images * 3 * channels;
  if (Status s = groupStatistics(ctx, g, x, gamma, in<float>(call, I::beta), p.eps, stats, affine); !s.ok()) return s;
  float* part = ctx.scratch<float>(0, images * static_cast<size_t>(g.blocks) * 2 * channels);
  if (Status s = launch(ctx, groupGradBlocks, g.shape(g.sums(2)), g, x, dy, affine, silu, part); !s.ok()) return s;
  double* sums = ctx.scratch<double>(3, images * 2 * channels);
  if (Status s = launchJoin(ctx, part, g.B, g.blocks, g.C, {sums, nullptr, nullptr, 0}); !s.ok()) return s;
  const Shape warps{dim3(static_cast<unsigned>(divUp(g.B * g.G, 4))), dim3(4 * kWarp)};
  if (Status s = launch(ctx, groupTerms, warps, g, stats, gamma, sums, terms); !s.ok()) return s;
  if (Status s = launch(ctx, groupGradApply, g.shape(), g, x, dy, affine, terms, silu, floats(call.out[0], g.C)); !s.ok()) return s;
  float* dGamma = input(call, I::dGamma) ? mut<float>(call, I::dGamma) : nullptr;
  float* dBeta = input(call, I::dBeta) ? mut<float>(call, I::dBeta) : nullptr;
  if (!dGamma && !dBeta) return Status();
  return launch(ctx, addImages, {dim3(static_cast<unsigned>(divUp(g.C, 128))), dim3(128)}, g, sums, dGamma, dBeta);
}

}  // namespace ops
}  // namespace ns::cuda

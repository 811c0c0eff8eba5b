// group_norm over NHWC with affine and SiLU.
// Floor: bytes: x twice (the second time from L2 where an image fits) and y once. The cut of an image and the statistics: group.h.
// Reference: torch.nn.functional.group_norm, silu.
#include <algorithm>
#include <cmath>

#include "cuda/common/reduce.h"
#include "cuda/common/shared.h"
#include "cuda/ops/group.h"

namespace ns::cuda {
namespace {

constexpr int kJoinThreads = 128;

// Around `shift`, the mean of the first values: sums of differences and of their squares.
struct Around {
  float shift[kQuad], sum[kQuad], squares[kQuad];
};

__device__ inline void addAround(Around& a, const float (&v)[kAhead][kQuad], int n) {
#pragma unroll
  for (int k = 0; k < kAhead; k++) {
    for (int e = 0; e < kQuad; e++) {
      const float d = k < n ? v[k][e] - a.shift[e] : 0.0f;
      a.sum[e] += d;
      a.squares[e] = fmaf(d, d, a.squares[e]);
    }
  }
}

__device__ inline Around sumAround(const Group& g, const Place& place, const Floats& x, int c) {
  Around a{};
  const int n = place.positions(g, place.lane);
  if (n == 0) return a;
  float v[kAhead][kQuad];
  place.read(g, x, 0, n, c, v);
  const float inverse = 1.0f / static_cast<float>(n < kAhead ? n : kAhead);
  for (int e = 0; e < kQuad; e++) {
    for (int k = 0; k < kAhead; k++) a.shift[e] += v[k][e] * inverse;
  }
  addAround(a, v, n);
  for (int i = kAhead; i < n; i += kAhead) {
    place.read(g, x, i, n, c, v);
    addAround(a, v, n - i);
  }
  return a;
}

// Mean and sum of squared differences of one group in this block, by one warp from the sums [3][lanes][C] of the threads.
__device__ inline void joinThreads(const Group& g, const Place& place, const float* sums, int group, double* to) {
  const int width = g.C / g.G, lane = static_cast<int>(threadIdx.x) % kWarp, plane = g.lanes * g.C;
  const double count = static_cast<double>(place.rows) * width;
  const auto each = [&](auto body) {
    double total = 0.0;
    for (int i = lane; i < width * g.lanes; i += kWarp) {
      const int row = i / width, at = row * g.C + group * width + i % width;
      const double n = static_cast<double>(place.positions(g, row));
      if (n > 0)
        total += body(n, static_cast<double>(sums[at]), static_cast<double>(sums[plane + at]), static_cast<double>(sums[2 * plane + at]));
    }
    return warpSum(total);
  };
  const double mean = each([](double n, double shift, double sum, double) { return n * shift + sum; }) / count;
  const double squares = each([&](double n, double shift, double sum, double square) {
    const double off = shift - mean;
    return square + off * (2.0 * sum + n * off);
  });
  if (lane != 0) return;
  to[0] = mean;
  to[1] = squares;
}

// part [B][blocks][G][2]
__global__ void __launch_bounds__(kGroupThreads, 2) groupBlocks(Group g, Floats x, double* part) {
  NS_SHARED(float, sums);
  const Place place(g);
  const int plane = g.lanes * g.C;
  for (int c = place.column * kQuad; place.works && c < g.C; c += g.columns * kQuad) {
    const Around a = sumAround(g, place, x, c);
    for (int e = 0; e < kQuad && c + e < g.C; e++) {
      float* to = sums + place.lane * g.C + c + e;
      to[0] = a.shift[e];
      to[plane] = a.sum[e];
      to[2 * plane] = a.squares[e];
    }
  }
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < g.G; i += warps)
    joinThreads(g, place, sums, i, part + (int64_t{blockIdx.x} * g.G + i) * 2);
}

// One block joins the parts of one group of one image.
__global__ void __launch_bounds__(kJoinThreads)
    joinBlocks(Group g, const double* part, const float* gamma, const float* beta, float eps, double* stats, float* affine) {
  const int width = g.C / g.G;
  const int64_t index = blockIdx.x, image = index / g.G, group = index % g.G;
  const auto each = [&](auto body) {
    double total = 0.0;
#pragma unroll 4
    for (int64_t k = threadIdx.x; k < g.blocks; k += kJoinThreads) {
      const double* p = part + ((image * g.blocks + k) * g.G + group) * 2;
      total += body(static_cast<double>(g.run < g.P - k * g.run ? g.run : g.P - k * g.run), p[0], p[1]);
    }
    return blockSum(total);
  };
  const double mean = each([](double rows, double m, double) { return rows * m; }) / static_cast<double>(g.P);
  const double squares = each([&](double rows, double m, double m2) { return m2 + rows * width * (m - mean) * (m - mean); });
  const double variance = squares / (static_cast<double>(g.P) * width);
  const double rstd = 1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + static_cast<double>(eps));
  if (threadIdx.x == 0) {
    stats[index * 2] = mean;
    stats[index * 2 + 1] = rstd;
  }
  const float high = static_cast<float>(mean);
  float* to = affine + image * 3 * g.C;
  for (int64_t c = group * width + threadIdx.x; c < (group + 1) * width; c += kJoinThreads) {
    to[c] = high;
    to[g.C + c] = static_cast<float>(gamma[c] * rstd);
    to[2 * g.C + c] = static_cast<float>(beta[c] - (mean - high) * rstd * gamma[c]);
  }
}

__global__ void __launch_bounds__(kGroupThreads, 2) groupApply(Group g, Floats x, const float* affine, bool silu, Floats y) {
  const Place place(g);
  if (!place.works) return;
  const int n = place.positions(g, place.lane);
  for (int c = place.column * kQuad; c < g.C; c += g.columns * kQuad) {
    const Affine a(affine + place.image * 3 * g.C, g.C, c);
    for (int i = 0; i < n; i += kAhead) {
      float v[kAhead][kQuad];
      place.read(g, x, i, n, c, v);
#pragma unroll
      for (int k = 0; k < kAhead; k++) {
        if (i + k >= n) continue;
        for (int e = 0; e < kQuad; e++) {
          const float z = fmaf(v[k][e] - a.mean[e], a.factor[e], a.term[e]);
          v[k][e] = silu ? z / (1.0f + expf(-z)) : z;
        }
        writeQuad(y, place.at(g, i + k, c), g.C - c, v[k]);
      }
    }
  }
}

}  // namespace

Group makeGroup(const NsTensor& x, int groups) {
  Group g;
  g.B = x.dims[0];
  g.P = x.dims[1] * x.dims[2];
  g.C = static_cast<int>(x.dims[3]);
  g.G = groups;
  const int64_t quads = std::max<int64_t>(divUp(g.C, kQuad), 1);
  g.columns = static_cast<int>(std::min<int64_t>(quads, 256));
  g.lanes = std::max(kGroupThreads / g.columns, 1);
  // Long runs for large maps, at least 64 blocks for small ones, no thread without a position.
  const int64_t large = 16384 / std::max(g.C, 1);
  g.run = std::max<int64_t>(std::min(large, divUp(g.P, 64)), std::min<int64_t>(g.lanes, std::max<int64_t>(g.P, 1)));
  g.blocks = divUp(g.P, g.run);
  return g;
}

Status groupStatistics(const Context& ctx, const Group& g, const Floats& x, const float* gamma, const float* beta, float eps, double* stats,
                       float* affine) {
  if (g.sums(3) > ctx.sharedPerBlock)
    return failure(NS_UNSUPPORTED, "group_norm of %d channels needs %zu bytes of shared memory, the device has %zu", g.C, g.sums(3),
                   ctx.sharedPerBlock);
  double* part = ctx.scratch<double>(0, static_cast<size_t>(g.B * g.blocks * g.G * 2));
  if (Status s = launch(ctx, groupBlocks, g.shape(g.sums(3)), g, x, part); !s.ok()) return s;
  const Shape join{dim3(static_cast<unsigned>(g.B * g.G)), dim3(kJoinThreads)};
  return launch(ctx, joinBlocks, join, g, part, gamma, beta, eps, stats, affine);
}

namespace ops {

Status group_norm(const Context& ctx, const NsCall& call, const op::group_norm::Params& p) {
  namespace I = op::group_norm::in;
  const NsTensor& x = call.in[I::x];
  if (p.groups < 1 || x.dims[3] % p.groups != 0)
    return failure(NS_INVALID, "[group_norm] %lld channels, %d groups: does not divide", static_cast<long long>(x.dims[3]), p.groups);
  if (count(x) == 0) return Status();
  const Group g = makeGroup(x, p.groups);
  const Floats from = floats(x, g.C);
  double* stats = ctx.scratch<double>(1, static_cast<size_t>(g.B * g.G * 2));
  float* affine = ctx.scratch<float>(2, static_cast<size_t>(g.B * 3 * g.C));
  Status s = groupStatistics(ctx, g, from, in<float>(call, I::gamma), in<float>(call, I::beta), p.eps, stats, affine);
  if (!s.ok()) return s;
  return launch(ctx, groupApply, g.shape(), g, from, affine, p.silu != 0, floats(call.out[0], g.C));
}

}  // namespace ops
}  // namespace ns::cuda

// What group_norm and its gradient share: how an image is cut into blocks of positions, its statistics, the affine map per channel.
// A block takes `run` positions and all channels: a thread has one quad of channels (a few, where there are more quads than threads) and
// every `lanes`-th position, so that rows are read whole and groups of any width may lie across quads.
// Statistics: f32 sums around a shift near the mean, per thread and channel; joined in f64, in a fixed order, to the block's groups and
// then to the image's. Cut and order depend on the shape of one image alone.
#pragma once
#include "cuda/common/launch.h"
#include "cuda/ops/quad.h"

namespace ns::cuda {

// B images of P positions and C channels in G groups.
struct Group {
  int64_t B, P;
  int C, G;
  int columns, lanes;  // threads of a block: quads side by side, positions
  int64_t run, blocks;
  int width() const { return C / G; }
  int threads() const { return static_cast<int>(divUp(columns * lanes, 32) * 32); }
  Shape shape(size_t shared = 0) const { return {dim3(static_cast<unsigned>(B * blocks)), dim3(static_cast<unsigned>(threads())), shared}; }
  // Per thread of a block and channel: n floats.
  size_t sums(int n) const { return static_cast<size_t>(n) * static_cast<size_t>(lanes) * static_cast<size_t>(C) * sizeof(float); }
};

Group makeGroup(const NsTensor& x, int groups);

constexpr int kGroupThreads = 384;
constexpr int kAhead = 4;  // quads that a thread has in flight

// Which positions and channels a thread has.
struct Place {
  int64_t image, base;  // the element where the block begins
  int rows;             // positions of the block
  int column, lane;
  bool works;
  __device__ explicit Place(const Group& g)
      : image(blockIdx.x / g.blocks),
        base((image * g.P + blockIdx.x % g.blocks * g.run) * g.C),
        rows(static_cast<int>(g.run)),
        column(static_cast<int>(threadIdx.x) % g.columns),
        lane(static_cast<int>(threadIdx.x) / g.columns),
        works(lane < g.lanes) {
    const int64_t left = g.P - blockIdx.x % g.blocks * g.run;
    if (left < g.run) rows = static_cast<int>(left);
  }

  // How many positions a lane has: every g.lanes-th.
  __device__ int positions(const Group& g, int ofLane) const { return rows > ofLane ? (rows - ofLane + g.lanes - 1) / g.lanes : 0; }
  // Element of the i-th position of this thread at channel c; a block is short of 2^31 elements.
  __device__ int64_t at(const Group& g, int i, int c) const { return base + ((lane + i * g.lanes) * g.C + c); }
  // The quads of N positions from the i-th on.
  template <int N>
  __device__ void read(const Group& g, const Floats& x, int i, int n, int c, float (&v)[N][kQuad]) const {
    readQuads<N>(
        x, [&](int k) { return at(g, i + k, c); }, [&](int k) { return i + k < n ? g.C - c : 0; }, 0.0f, v);
  }
};

// mean, factor a and term b of (x - mean) * a + b at channels [c, c + 4), from the table [3][C] of an image.
struct Affine {
  float mean[kQuad], factor[kQuad], term[kQuad];
  __device__ Affine(const float* table, int C, int c) {
    for (int e = 0; e < kQuad; e++) {
      const bool real = c + e < C;
      mean[e] = real ? table[c + e] : 0.0f;
      factor[e] = real ? table[C + c + e] : 0.0f;
      term[e] = real ? table[2 * C + c + e] : 0.0f;
    }
  }
};

// stats [B][G][2]: mean and 1 / sqrt(variance + eps). affine [B][3][C]: see Affine. Uses scratch slot 0.
Status groupStatistics(const Context& ctx, const Group& g, const Floats& x, const float* gamma, const float* beta, float eps, double* stats,
                       float* affine);

}  // namespace ns::cuda

// What group_norm and its gradient share: the blocks of an image, its statistics, the affine map per channel.
#pragma once
#include <algorithm>
#include <cstdint>

#include "native/cpu/context.h"

namespace ns::cpu {

constexpr int64_t kGrainFloats = 16384;

// B images of P positions and C channels in G groups; positions lie in blocks of R, which depends on the shape of one image alone.
struct Group {
  int64_t B, P, C, G, R, blocks;
  int64_t width() const { return C / G; }
  int64_t padded() const { return (C + 15) / 16 * 16; }
  int64_t grain() const { return std::max<int64_t>(1, 4 * kGrainFloats / (R * C)); }  // blocks per chunk of work
};

inline Group makeGroup(int64_t B, int64_t P, int64_t C, int64_t G) {
  const int64_t R = std::clamp<int64_t>(32768 / C / 8 * 8, 8, 256);
  return {B, P, C, G, R, (P + R - 1) / R};
}

// stats [B][G][2]: mean and 1 / sqrt(variance + eps). Uses slot 0 of ctx.shared and of every ctx.perThread.
void groupStatistics(Context& ctx, const Group& g, const float* x, double eps, double* stats);

// Per image at channels + image * stride, [3][padded]: mean m, factor a and term b of (x - m) * a + b, the normalised and affine value.
void groupChannels(const Group& g, const double* stats, const float* gamma, const float* beta, float* channels, int64_t stride);

}  // namespace ns::cpu

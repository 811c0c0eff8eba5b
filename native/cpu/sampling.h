// Pieces of one row that truncate_logits, multinomial and the fused sample_cfg share, so that all give the same token.
#pragma once
#include <cstdint>

namespace ns::cpu {

constexpr int kSampleBins = 1024;

// Scratch of one thread; the arrays of V entries are aligned to 64 bytes.
struct SampleRow {
  float* logits;
  float* weights;
  int32_t* bins;
  int32_t* picked;
  uint32_t* counts;  // [kSampleBins + 1], entry 0 for -inf
  double* masses;    // likewise
};

// What one pass over a row finds; -inf is not finite, and hasBad tells of NaN or +inf.
struct RowStats {
  float least, most;  // of the finite values
  int64_t finite;
  bool hasBad;
};

// -inf for what top-k and then top-p remove from r.logits, in place; false if the row holds NaN or +inf.
bool truncateRow(const SampleRow& r, int64_t V, int32_t k, float p);

// The first index whose running sum passes u * total, or -1 if there is no valid distribution (negative, NaN, infinite or all zero).
int64_t drawRow(const float* probs, int64_t V, double u);

}  // namespace ns::cpu

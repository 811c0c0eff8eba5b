// What the tile kernels of attention_grad and its driver share.
#pragma once
#include <cstdint>

namespace ns::cpu {

constexpr int64_t kGradKeys = 96;  // keys per block
constexpr int64_t kGradRows = 48;  // query rows per block: 8 register tiles of 6

// One (batch, head): where its rows lie and what is done to them.
struct AttGradHead {
  const float* qkv;  // q of row 0; k and v of a row lie kAt and vAt floats behind its q
  int64_t stride;    // floats from row to row, of dqkv too
  int64_t kAt, vAt;
  const float* y;  // row 0 of the output and of its gradient
  const float* dy;
  int64_t yStride;
  const float* lse;  // [l]
  int64_t l, width;
  const int32_t* visible;  // null: all
  bool normalize;
  float factor;  // on the scores
  float* dqkv;
};

}  // namespace ns::cpu

// What the kernels of attention and its driver share.
#pragma once
#include <cstdint>

#include "native/abi/dtype.h"

namespace ns::cpu {

constexpr int64_t kAttKeys = 64;  // keys per block
constexpr int64_t kAttRows = 6;   // rows per register tile of AttScores

// One (batch, head): where its rows lie and what is done to them.
struct AttHead {
  const float* qkv;  // q of row 0; k and v of a row lie kAt and vAt floats behind its q
  int64_t stride;    // floats from row to row
  int64_t kAt, vAt;
  char* kCache;  // [Lmax][width] of this head, or null
  char* vCache;
  DType cacheType;
  int64_t pos;  // keys in the cache
  int64_t width;
  const int32_t* visible;  // null: all
  int64_t keys;            // pos + l
  int64_t cached;          // keys that are read from the cache: pos, or all where the new ones are in it as f32
  bool normalize;
  float factor;  // on q, log2(e) included
  float* y;      // row 0 of the output
  int64_t yStride;
  float* lse;  // row 0 of the log-sum-exps, or null
};

}  // namespace ns::cpu

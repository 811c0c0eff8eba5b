// conv_pack: OIHW to rows [outputs, padded to 16][ky][kx][inputs], in which conv2d reads along k = (ky, kx, i); once per model, or once
// per step in training. Floor: the bytes of source and target. A thread takes one kernel: reads of neighbours lie `taps` elements apart
// and share cache lines, writes are contiguous over the threads of a warp.
// TURN packs the weight of the input's gradient: w'[i][o][y][x] = w[o][i][kh-1-y][kw-1-x]. What follows the rows (room for a device
// that transforms) is zero.
#pragma once
#include "cuda/kernels/any.cuh"

namespace ns::cuda::conv {

template <bool TURN>
__global__ void __launch_bounds__(kThreads)
    packWeight(In w, Out packed, int outputs, int inputs, int taps, int64_t kernels, int64_t total) {
  for (int64_t at = firstItem(); at < kernels; at += itemStep()) {
    const int64_t row = at / inputs, col = at - row * inputs;
    const int64_t from = (TURN ? col * outputs + row : at) * taps;
    for (int t = 0; t < taps; t++) {
      float v[1] = {0};
      if (row < outputs) load(w, from + (TURN ? taps - 1 - t : t), v);
      store(packed, (row * taps + t) * inputs + col, v);
    }
  }
  const float zero[1] = {0};
  for (int64_t at = kernels * taps + firstItem(); at < total; at += itemStep()) store(packed, at, zero);
}

// Rows of `width` elements to rows of `pitch`, zeros behind; makes weights fit copies of 16 bytes and converts them.
__global__ void __launch_bounds__(kThreads) copyRows(In from, Out to, int64_t rows, int width, int pitch) {
  for (int64_t at = firstItem(); at < rows * pitch; at += itemStep()) {
    const int64_t row = at / pitch, col = at - row * pitch;
    float v[1] = {0};
    if (col < width) load(from, row * width + col, v);
    store(to, at, v);
  }
}

}  // namespace ns::cuda::conv

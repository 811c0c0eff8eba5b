// The product under weight gradients: sums[n][c] = sum over rows m of dy[m][n] * columns[m][c]; both operands lie row by row (k-major).
// Rows are cut into blocks and blocks into chunks that depend on the shape only: inside a block one chain of multiply-adds from zero in
// the order of the rows, blocks of a chunk are added in order, chunks by the caller in order. Threads and tiling do not enter.
#pragma once
#include <cstdint>

#include "native/cpu/context.h"
#include "native/cpu/gemm.h"

namespace ns::cpu {

// Where the rows of a block lie in a packed panel: `count` runs of `length` rows, run s from float start[s] on.
struct Segments {
  int64_t count = 0, length = 0;
  int64_t* start = nullptr;  // room for TnProduct::runs
};

// Packs panels [p0, p1) of 16 channels for rows [m0, m0 + rows) to dst + (p - p0) * panelFloats, 16 floats per position.
using PackColumns = void (*)(const void* source, int64_t m0, int64_t rows, int64_t p0, int64_t p1, float* dst, Segments& s);

// dst[i * 16 + j] = x[i * stride + j] for j < width (at most 16), 0 for the other lanes; dst is 64-byte aligned.
void tnCopyLines(const float* x, int64_t stride, int64_t count, int64_t width, float* dst);
// The same for `width` columns, panel by panel: 16 columns each to dst + panel * panelFloats.
void tnCopyPanels(const float* x, int64_t stride, int64_t count, int64_t width, float* dst, int64_t panelFloats);

// Column c = panel * taps + tap of 16 lanes. A tap is the panel read from tapAt[tap] floats on: a shifted image is packed once.
struct TnProduct {
  int64_t rows = 0, n = 0;
  const float* dy = nullptr;  // [rows, n]
  int64_t panels = 0, taps = 1;
  const int64_t* tapAt = nullptr;  // [taps]
  int64_t panelFloats = 0;
  int64_t step = kPanel;         // floats between rows of a run
  int64_t runs = 1;              // most runs of a block
  int64_t extra = 0;             // floats behind the panels of a call of pack, for its own use
  int64_t block = 0, chunk = 0;  // rows per block, blocks per chunk
  PackColumns pack = nullptr;
  const void* source = nullptr;
  // Where there is one chunk and one tap: dw[n][c] += alpha * sum, instead of sums to be fetched.
  float* dw = nullptr;  // [n, cols]
  int64_t cols = 0;
  float alpha = 1.0f;

  int64_t blocks() const { return ceilDiv(rows, block); }
  int64_t chunks() const { return ceilDiv(blocks(), chunk); }
  int64_t columns() const { return panels * taps; }
};

// Rows of a block to aim at, and the number of chunks for an output of n rows and c columns of 16: enough to occupy the threads where the
// output is small, few enough for their sums to cost nothing.
int64_t tnBlockRows(int64_t n);
int64_t tnChunks(int64_t rows, int64_t n, int64_t columns);

// Sums [chunks][n][columns * 16], valid until the next call; nullptr where dw was given. Slot 0 of ctx.shared, 0 to 3 of every
// ctx.perThread.
const float* gemmTn(Context& ctx, const TnProduct& p);

// dst[i] = sum over the chunks of row n, columns from + [0, count).
void tnSum(const TnProduct& p, const float* sums, int64_t n, int64_t from, int64_t count, float* dst);

// dst[n] += alpha * (sum over the rows of dy[rows, n]), in fixed blocks. Slot 1 of ctx.shared.
void columnSums(Context& ctx, const float* dy, int64_t rows, int64_t n, float alpha, float* dst);

// dw[n, k] += alpha * dy[rows, n]^T x[rows, k] (linear_grad.cpp).
void linearGradW(Context& ctx, const float* x, const float* dy, int64_t rows, int64_t k, int64_t n, float alpha, float* dw);

}  // namespace ns::cpu

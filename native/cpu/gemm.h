// The packed GEMM under linear, matmul and convolution: C[m,n] = epilogue(A[m,k] W[k,n]).
// Weights come as panels of 16 columns, k-major, zero-padded: w[panel][k][16], f32, f16, bf16 or
// int8 (as u8; converted exactly in the kernel, the column's scale is applied to the sum).
// Every output element is, in every call, the same sequence: K is cut into blocks that depend on K only; inside a block one chain
// of multiply-adds from zero in the order of k; blocks are added in order. Rows, threads and tiling do not enter.
#pragma once
#include <cstdint>

#include "native/cpu/context.h"

namespace ns::cpu {

constexpr int64_t kPanel = 16;
constexpr int64_t kScaleLines = 4;  // int8 panels: lines of 16 bytes per panel that hold the f32 scales, behind all panels
constexpr int64_t kMaxBlockK = 1024;

inline int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Length of the K blocks (the last may be shorter).
inline int64_t blockK(int64_t k) {
  const int64_t blocks = ceilDiv(k, kMaxBlockK);
  return blocks <= 1 ? k : (ceilDiv(k, blocks) + 7) / 8 * 8;
}

enum class Activation : int32_t { none, gelu, silu };

// y = alpha * gate * act(sum * scale + bias) + beta * residual
struct Epilogue {
  const float* scale = nullptr;  // [n]
  const float* bias = nullptr;   // [n]
  const float* gate = nullptr;   // row m / rowsPerGate
  int64_t gateStride = 0;        // floats between gate rows; 0: one row for all
  int64_t rowsPerGate = 1;
  const float* residual = nullptr;  // same layout as c
  float alpha = 1.0f;
  float beta = 1.0f;
  Activation act = Activation::none;
};

// Rows that are not one strided matrix: fills pointers[i] with the address of element k of row first + i (i < count) and returns for
// how many k, up to limit, these addresses go on contiguously.
using RowSource = int64_t (*)(const void* source, int64_t first, int count, int64_t k, int64_t limit, const float** pointers);

struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;  // rows at a + i * lda, unless rows is set
  int64_t lda = 0;
  RowSource rows = nullptr;
  const void* source = nullptr;
  const void* w = nullptr;
  DType dtype = DType::f32;
  float* c = nullptr;  // must not overlap a, w or the epilogue's inputs
  int64_t ldc = 0;
  Epilogue epilogue;
};

// Splits the work over the pool. Uses slot 0 of ctx.shared and of every ctx.perThread.
void gemm(Context& ctx, const Gemm& g);

// The whole product on the calling thread; scratch: at least gemmScratch(m, k) floats.
int64_t gemmScratch(int64_t m, int64_t k);
void gemmSerial(const Gemm& g, float* scratch);

// Name of the instruction set in use.
const char* gemmTarget();

}  // namespace ns::cpu

// What happens to a product before it is stored: y = alpha * gate * act(product + bias) + beta * residual, rounded once to the type of y.
// Shared by linear (alpha = beta = 1), matmul (alpha), weight gradients (y = residual = dw, beta = 1) and convolution (alpha, beta).
// Floor: the bytes of y and the residual. Types are chosen at run time: each element is touched once.
#pragma once
#include "cuda/common/exact.h"
#include "cuda/common/vec.h"

namespace ns::cuda {

enum class Activation : int { none, gelu, silu };

__device__ inline float activate(Activation act, float x) {
  switch (act) {
    // 0.5 x (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    case Activation::gelu: return x / (1.0f + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    case Activation::silu: return x / (1.0f + expf(-x));
    default: return x;
  }
}

struct Epilogue {
  const float* bias = nullptr;     // [n]
  const float* gate = nullptr;     // [n] per gateRows rows, gateStride elements apart
  const void* residual = nullptr;  // as y
  void* y = nullptr;               // [rows, pitch]
  int64_t pitch = 0, batch = 0;    // elements between rows and between the products of a batch
  int64_t gateStride = 0;          // 0: one gate for all rows
  int gateRows = 1;
  Activation act = Activation::none;
  float alpha = 1, beta = 1;
  DType residualType = DType::f32, yType = DType::f32;
  bool packed = false;  // four columns at a time, see pack()

  // Whether all accesses of four columns at a multiple of four are aligned.
  void pack() {
    const auto fits = [](const void* p, size_t size) { return reinterpret_cast<uintptr_t>(p) % (4 * size) == 0; };
    packed = pitch % 4 == 0 && batch % 4 == 0 && gateStride % 4 == 0 && fits(bias, 4) && fits(gate, 4) &&
             fits(residual, dtypeSize(residualType)) && fits(y, dtypeSize(yType));
  }

  __device__ static float read(const void* p, DType type, int64_t at) {
    switch (type) {
      case DType::f16: return toFloat(static_cast<const f16*>(p)[at]);
      case DType::bf16: return toFloat(static_cast<const bf16*>(p)[at]);
      default: return static_cast<const float*>(p)[at];
    }
  }
  __device__ static void write(void* p, DType type, int64_t at, float v) {
    switch (type) {
      case DType::f16: static_cast<f16*>(p)[at] = fromFloat<f16>(v); break;
      case DType::bf16: static_cast<bf16*>(p)[at] = fromFloat<bf16>(v); break;
      default: static_cast<float*>(p)[at] = v;
    }
  }
  template <class T>
  __device__ static void read4(const void* p, int64_t at, float (&v)[4]) {
    const Pack<T, 4> from = loadPack<4>(static_cast<const T*>(p) + at);
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = toFloat(from.v[i]);
  }
  __device__ static void read4(const void* p, DType type, int64_t at, float (&v)[4]) {
    switch (type) {
      case DType::f16: return read4<f16>(p, at, v);
      case DType::bf16: return read4<bf16>(p, at, v);
      default: return read4<float>(p, at, v);
    }
  }
  template <class T>
  __device__ static void write4(void* p, int64_t at, const float (&v)[4]) {
    Pack<T, 4> to;
#pragma unroll
    for (int i = 0; i < 4; i++) to.v[i] = fromFloat<T>(v[i]);
    storePack<4>(static_cast<T*>(p) + at, to);
  }
  __device__ static void write4(void* p, DType type, int64_t at, const float (&v)[4]) {
    switch (type) {
      case DType::f16: return write4<f16>(p, at, v);
      case DType::bf16: return write4<bf16>(p, at, v);
      default: return write4<float>(p, at, v);
    }
  }

  // The product's columns col..col+3 of a row, as many of them as lie before n; col is a multiple of 4.
  __device__ void store(int z, int row, int col, int n, const float (&product)[4]) const {
    const int64_t at = z * batch + row * pitch + col;
    const int64_t gateAt = gate && gateStride ? row / gateRows * gateStride + col : col;
    if (packed && col + 4 <= n) {
      float v[4], b[4] = {0, 0, 0, 0}, g[4] = {1, 1, 1, 1}, r[4] = {0, 0, 0, 0};
      if (bias) read4<float>(bias, col, b);
      if (gate) read4<float>(gate, gateAt, g);
      if (residual) read4(residual, residualType, at, r);
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = finish(product[i], b[i], g[i], r[i]);
      return write4(y, yType, at, v);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (col + i >= n) break;
      const float r = residual ? read(residual, residualType, at + i) : 0.0f;
      write(y, yType, at + i, finish(product[i], bias ? bias[col + i] : 0.0f, gate ? gate[gateAt + i] : 1.0f, r));
    }
  }

 private:
  __device__ float finish(float v, float b, float g, float r) const {
    v = product(alpha * g, activate(act, v + b));  // not fused with the sum: the bits of gate_residual
    return residual ? v + beta * r : v;
  }
};

}  // namespace ns::cuda

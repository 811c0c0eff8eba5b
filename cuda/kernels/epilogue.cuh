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
  // Four values as they lie in memory: converting them is what waits for the load.
  struct Raw {
    unsigned word[4];
  };
  __device__ static Raw readRaw(const void* p, DType type, int64_t at) {
    Raw r{};
    if (type == DType::f32) {
      const Pack<unsigned, 4> from = loadPack<4>(static_cast<const unsigned*>(p) + at);
#pragma unroll
      for (int i = 0; i < 4; i++) r.word[i] = from.v[i];
    } else {
      const Pack<unsigned, 2> from = loadPack<2>(static_cast<const unsigned*>(p) + at / 2);
      r.word[0] = from.v[0];
      r.word[1] = from.v[1];
    }
    return r;
  }
  template <class T>
  __device__ static void convert(const Raw& r, float (&v)[4]) {
    T from[4];
    memcpy(from, r.word, sizeof(from));
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = toFloat(from[i]);
  }
  __device__ static void convert(const Raw& r, DType type, float (&v)[4]) {
    switch (type) {
      case DType::f16: return convert<f16>(r, v);
      case DType::bf16: return convert<bf16>(r, v);
      default: return convert<float>(r, v);
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

  // Whether every column belongs to four that are loaded and stored at once; otherwise columns are taken one by one.
  __host__ __device__ bool byFours(int n) const { return packed && n % 4 == 0; }

  // What four columns need beside their product: loaded apart from their store, several loads can be under way.
  struct Beside {
    Raw bias, gate, residual;
  };
  __device__ Beside load(int z, int row, int col) const {
    Beside r{};
    if (bias) r.bias = readRaw(bias, DType::f32, col);
    if (gate) r.gate = readRaw(gate, DType::f32, gateAt(row, col));
    if (residual) r.residual = readRaw(residual, residualType, z * batch + row * pitch + col);
    return r;
  }
  __device__ void store(int z, int row, int col, const Pack<float, 4>& product, const Beside& beside) const {
    float v[4], b[4], g[4] = {1, 1, 1, 1}, r[4];
    convert<float>(beside.bias, b);
    if (gate) convert<float>(beside.gate, g);
    convert(beside.residual, residualType, r);
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = finish(product.v[i], b[i], g[i], r[i]);
    write4(y, yType, z * batch + row * pitch + col, v);
  }
  __device__ void storeOne(int z, int row, int col, float product) const {
    const int64_t at = z * batch + row * pitch + col;
    const float r = residual ? read(residual, residualType, at) : 0.0f;
    write(y, yType, at, finish(product, bias ? bias[col] : 0.0f, gate ? gate[gateAt(row, col)] : 1.0f, r));
  }

 private:
  __device__ int64_t gateAt(int row, int col) const { return gateStride ? row / gateRows * gateStride + col : col; }
  __device__ float finish(float v, float b, float g, float r) const {
    v = product(alpha * g, activate(act, v + b));  // not fused with the sum: the bits of gate_residual
    return residual ? v + beta * r : v;
  }
};

}  // namespace ns::cuda

// The GEMM family as the ops call it: C = A B for any dtypes, alignment and size, with the epilogue of epilogue.cuh.
// Summation: along k in order, in f32; where the tiles alone cannot fill the device, k is split and the parts are summed in order, by the
// same launch where few bytes are left to add (gemm_sum.cuh).
#pragma once
#include "cuda/common/context.h"
#include "cuda/kernels/epilogue.cuh"
#include "cuda/kernels/gemm_load.cuh"

namespace ns::cuda::gemm {

struct Gemm {
  Matrix a, b;  // a: m rows of k, or k rows of m where not alongA; b: n rows of k, or k rows of n
  bool alongA = true, alongB = true;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  bool tf32 = false;  // f32 operands may be rounded
  Epilogue epilogue;
};

enum class Size { small, few, medium, large };
struct Plan {
  Size size = Size::medium;
  bool fast = false;  // both operands can be copied asynchronously
  int depth = 0;      // k of one split, a multiple of 64
  int splits = 1;
  float* partial = nullptr;
  unsigned* tickets = nullptr;  // the product sums its parts itself
};

// Both operands f16 or both bf16: tensor cores take them as they are. Everything else is computed from f32.
inline bool halves(const Gemm& g) { return g.a.type == g.b.type && g.a.type != DType::f32; }
// The size that runs where `wanted` is planned: medium where there is no kernel. Small and few exist for rows by rows alone; tf32 gains
// nothing where the weights' bytes are the time, and unaligned 16-bit products are too rare for a kernel of their own.
constexpr Size sizeToRun(Size wanted, bool rowsByRows, bool fast, bool half, bool tensor) {
  const bool exists = wanted == Size::small   ? rowsByRows && (half ? fast : !tensor)
                      : wanted == Size::few   ? rowsByRows && half && fast
                      : wanted == Size::large ? fast
                                              : true;
  return exists ? wanted : Size::medium;
}
Plan plan(const Context& ctx, const Gemm& g);
Plan split(Plan p, int64_t k, int splits);

// Operands of different types that are worth it (m n k of at least `least`) become f32 in scratch slots 3 and 4, once instead of at every
// load; small products convert while they load.
Status widen(const Context& ctx, Gemm& g, int64_t least = int64_t{1} << 27);

// Uses scratch slot 0.
Status enqueue(const Context& ctx, const Gemm& g);
Status enqueue(const Context& ctx, const Gemm& g, Plan p);

// Sums [splits][batch][m][n] in order, then the epilogue.
Status sumPartial(const Context& ctx, const float* partial, int splits, int64_t batch, int64_t m, int64_t n, const Epilogue& e);

// One per layout and kind of product, each compiled in a file of its own.
template <class Math, bool ALONG_A, bool ALONG_B>
Status run(const Context& ctx, const Gemm& g, const Plan& p);

}  // namespace ns::cuda::gemm

// Micro-kernel of the Winograd products, compiled once per instruction set: the kernel of gemm_kernel-inl.h for transformed tiles, which
// lie as [chunk of 16 channels][row][16], so that the transform stores whole vectors and nothing is packed, and whose sums go straight to
// z. Floor: one FMA per 16 outputs and k on AVX-512, two on AVX2. Reference: as in gemm_kernel-inl.h.
#if defined(NS_CPU_WINOGRAD_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_WINOGRAD_KERNEL_INL_H_
#undef NS_CPU_WINOGRAD_KERNEL_INL_H_
#else
#define NS_CPU_WINOGRAD_KERNEL_INL_H_
#endif

#include "native/cpu/gemm_kernel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// a [ceil(kn / 16)][Rows][16]; w: panel p at w + p * stride, [kn][16]; z [Rows][Panels * 16] is written, or added to. ahead: distance in
// bytes from the weights in use to those that are fetched.
using PointKernel = void (*)(const float* a, const void* w, int64_t stride, int64_t kn, int64_t ahead, bool add, float* z);

template <class W, int Panels, int Rows>
void PointProduct(const float* HWY_RESTRICT a, const void* weights, int64_t stride, int64_t kn, int64_t ahead, bool add,
                  float* HWY_RESTRICT z) {
  using T = typename W::T;
  constexpr int kCols = Panels * kVectors;
  const DF d;
  const T* w[Panels];
  VF sum[Rows][kCols];
  StartTile(static_cast<const T*>(weights), stride, w, sum);
  for (; kn >= 16; kn -= 16, a += (Rows - 1) * 16) {
    for (int part = 0; part < 4; part++, a += 4) {
      FetchWeights(w, ahead);
      NS_UNROLL(4)
      for (int u = 0; u < 4; u++) Step<W, Panels, Rows, 1, 16>(a, w, u, sum);
      NS_UNROLL(4)
      for (int p = 0; p < Panels; p++) w[p] += 4 * 16;
    }
  }
  for (; kn > 0; kn--, a++) {
    Step<W, Panels, Rows, 1, 16>(a, w, 0, sum);
    NS_UNROLL(4)
    for (int p = 0; p < Panels; p++) w[p] += 16;
  }
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) {
      float* to = z + r * Panels * 16 + v * kLanes;
      hn::Store(add ? hn::Add(hn::Load(d, to), sum[r][v]) : sum[r][v], d, to);
    }
  }
}

template <class W, int Panels, int... I>
constexpr std::array<PointKernel, sizeof...(I)> PointKernelRow(std::integer_sequence<int, I...>) {
  return {{PointProduct<W, Panels, I + 1>...}};
}

template <class W>
PointKernel PickPoint(int panels, int rows) {
  static constexpr auto one = PointKernelRow<W, 1>(std::make_integer_sequence<int, kRows>());
  static constexpr auto two = PointKernelRow<W, 2>(std::make_integer_sequence<int, kRows2>());
  return panels == 2 ? two[static_cast<size_t>(rows - 1)] : one[static_cast<size_t>(rows - 1)];
}

// For a tile of rows times 1 or 2 panels (2 up to kRows2 rows).
inline PointKernel PickPointKernel(DType dtype, int panels, int rows) {
  return dtype == DType::f32   ? PickPoint<WeightF32>(panels, rows)
         : dtype == DType::f16 ? PickPoint<WeightF16>(panels, rows)
                               : PickPoint<WeightBF16>(panels, rows);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_WINOGRAD_KERNEL_INL_H_

// Micro-kernel of the k-major product (gemm_tn.h), compiled once per instruction set: rows x 16 (or 32, 64) sums in registers as in
// gemm_kernel-inl.h, but the lines of a panel lie in runs, a step apart, and every panel has an address of its own.
#if defined(NS_CPU_GEMM_TN_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_GEMM_TN_KERNEL_INL_H_
#undef NS_CPU_GEMM_TN_KERNEL_INL_H_
#else
#define NS_CPU_GEMM_TN_KERNEL_INL_H_
#endif

#include "native/cpu/gemm_kernel-inl.h"
#include "native/cpu/gemm_tn.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

template <int Panels, int Rows>
HWY_INLINE void TnStep(const float* HWY_RESTRICT a, const float* const (&w)[Panels], int64_t at, VF (&sum)[Rows][Panels * kVectors]) {
  constexpr int kCols = Panels * kVectors;
  const DF d;
  VF b[kCols];
  NS_UNROLL(64)
  for (int v = 0; v < kCols; v++) b[v] = hn::Load(d, w[v / kVectors] + at + (v % kVectors) * kLanes);
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    const VF x = hn::Set(d, a[r]);
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) sum[r][v] = hn::MulAdd(x, b[v], sum[r][v]);
  }
}

// a [rows of the block][Rows]; columns: one address per panel; tile [Rows][Panels * 16].
using TnKernel = void (*)(const float* a, const float* const* columns, const Segments& s, int64_t step, float* tile);

template <int Panels, int Rows>
void TnMicroKernel(const float* HWY_RESTRICT a, const float* const* columns, const Segments& s, int64_t step, float* HWY_RESTRICT tile) {
  constexpr int kCols = Panels * kVectors;
  const DF d;
  VF sum[Rows][kCols];
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) sum[r][v] = hn::Zero(d);
  }
  for (int64_t run = 0; run < s.count; run++) {
    const float* w[Panels];
    NS_UNROLL(4)
    for (int p = 0; p < Panels; p++) w[p] = columns[p] + s.start[run];
    int64_t i = 0;
    for (; i + 4 <= s.length; i += 4) {
      NS_UNROLL(4)
      for (int u = 0; u < 4; u++) TnStep<Panels, Rows>(a + u * Rows, w, u * step, sum);
      a += 4 * Rows;
      NS_UNROLL(4)
      for (int p = 0; p < Panels; p++) w[p] += 4 * step;
    }
    for (; i < s.length; i++) {
      TnStep<Panels, Rows>(a, w, 0, sum);
      a += Rows;
      NS_UNROLL(4)
      for (int p = 0; p < Panels; p++) w[p] += step;
    }
  }
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) hn::Store(sum[r][v], d, tile + r * Panels * 16 + v * kLanes);
  }
}

template <int Panels, int... I>
constexpr std::array<TnKernel, sizeof...(I)> TnKernelRow(std::integer_sequence<int, I...>) {
  return {{TnMicroKernel<Panels, I + 1>...}};
}

inline TnKernel PickTnKernel(int panels, int rows) {
  static constexpr auto one = TnKernelRow<1>(std::make_integer_sequence<int, kRows>());
  static constexpr auto two = TnKernelRow<2>(std::make_integer_sequence<int, kRows2>());
  static constexpr auto four = TnKernelRow<4>(std::make_integer_sequence<int, kRows4 + (kRows4 == 0)>());
  return panels == 4   ? four[static_cast<size_t>(rows - 1)]
         : panels == 2 ? two[static_cast<size_t>(rows - 1)]
                       : one[static_cast<size_t>(rows - 1)];
}

// dst[m * rows + r] = x[m * stride + r] for r < rows, m < count. Whole vectors are read where that stays before `end`; up to 16 floats
// behind the last row are written.
inline void PackNarrow(const float* HWY_RESTRICT x, int64_t stride, int64_t count, int rows, const float* end, float* HWY_RESTRICT dst) {
  const DF d;
  const int wide = (rows + kLanes - 1) / kLanes * kLanes;
  for (int64_t m = 0; m < count; m++, x += stride, dst += rows) {
    if (end - x >= wide) {
      for (int r = 0; r < rows; r += kLanes) hn::StoreU(hn::LoadU(d, x + r), d, dst + r);
    } else {
      for (int r = 0; r < rows; r++) dst[r] = x[r];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_GEMM_TN_KERNEL_INL_H_

// Micro-kernel and packing of A, compiled once per instruction set.
// A tile of up to kRows rows lies as [k][rows]; the kernel keeps rows x 16 (or 32, 64) sums in registers, reads one A value per row and
// one weight line per panel and k, and leaves the sums in a small buffer. Floor: one FMA per 16 outputs and k on AVX-512, two on AVX2.
// Reference: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008; tile sizes measured.
#if defined(NS_CPU_GEMM_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_GEMM_KERNEL_INL_H_
#undef NS_CPU_GEMM_KERNEL_INL_H_
#else
#define NS_CPU_GEMM_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <utility>

#include "native/cpu/gemm.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/simd_math-inl.h"

// Instrumented by a sanitizer, unrolled kernels take minutes and gigabytes to compile.
#ifndef NS_UNROLL
#if defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)
#define NS_PRAGMA(x) _Pragma(#x)
#define NS_UNROLL(n) NS_PRAGMA(GCC unroll n)
#else
#define NS_UNROLL(n)
#endif
#endif

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = HWY_CAPPED(float, 16);
using VF = hn::Vec<DF>;
constexpr int kLanes = static_cast<int>(MaxLanes(DF()));
constexpr int kVectors = 16 / kLanes;  // per panel

// Largest row count of a tile for 1, 2 and 4 panels at once; bounded by the register file.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
constexpr int kRows = 14;
constexpr int kRows2 = 14;
constexpr int kRows4 = 6;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
constexpr int kRows = 6;
constexpr int kRows2 = 3;
constexpr int kRows4 = 1;
#elif HWY_ARCH_X86
constexpr int kRows = 3;
constexpr int kRows2 = 1;
constexpr int kRows4 = 0;
#else
constexpr int kRows = 6;
constexpr int kRows2 = 3;
constexpr int kRows4 = 1;
#endif
constexpr int kMaxPanels = 4;
constexpr int64_t kPrefetchBytes = 2048;  // ahead of the panel: covers DRAM latency from 8 rows up

struct WeightF32 {
  using T = float;
  static HWY_INLINE VF Load(DF d, const T* p) { return hn::LoadU(d, p); }
};
struct WeightF16 {
  using T = uint16_t;
  static HWY_INLINE VF Load(DF d, const T* p) { return LoadF16(d, p); }
};
struct WeightBF16 {
  using T = uint16_t;
  static HWY_INLINE VF Load(DF d, const T* p) { return LoadBF16(d, p); }
};

// u8 in name; the bits are two's complement.
struct WeightI8 {
  using T = int8_t;
  static HWY_INLINE VF Load(DF d, const T* p) {
    const hn::Rebind<int32_t, DF> di;
    return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(hn::Rebind<int8_t, DF>(), p)));
  }
};

// One k: sum += a value per row times a weight line per panel. A lies as [k][Rows], unless the strides say otherwise.
template <class W, int Panels, int Rows, int kStrideK = Rows, int kStrideRow = 1>
HWY_INLINE void Step(const float* HWY_RESTRICT a, const typename W::T* const (&w)[Panels], int k, VF (&sum)[Rows][Panels * kVectors]) {
  constexpr int kCols = Panels * kVectors;
  const DF d;
  VF b[kCols];
  NS_UNROLL(64)
  for (int v = 0; v < kCols; v++) b[v] = W::Load(d, w[v / kVectors] + k * 16 + (v % kVectors) * kLanes);
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    const VF x = hn::Set(d, a[k * kStrideK + r * kStrideRow]);
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) sum[r][v] = hn::MulAdd(x, b[v], sum[r][v]);
  }
}

// The panels' first lines, and sums of zero.
template <class T, int Panels, int Rows>
HWY_INLINE void StartTile(const T* weights, int64_t stride, const T* (&w)[Panels], VF (&sum)[Rows][Panels * kVectors]) {
  NS_UNROLL(4)
  for (int p = 0; p < Panels; p++) w[p] = weights + p * stride;
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    NS_UNROLL(64)
    for (int v = 0; v < Panels * kVectors; v++) sum[r][v] = hn::Zero(DF());
  }
}

// The lines of 4 k of every panel, `bytes` behind those in use.
template <class T, int Panels>
HWY_INLINE void FetchWeights(const T* const (&w)[Panels], int64_t bytes) {
  NS_UNROLL(4)
  for (int p = 0; p < Panels; p++) {
    NS_UNROLL(4)
    for (int line = 0; line < static_cast<int>(sizeof(T)); line++)
      __builtin_prefetch(reinterpret_cast<const char*>(w[p]) + bytes + line * 64);
  }
}

// Weights that the thread multiplies next, fetched into the second cache meanwhile: per 4 k and panel, `lines` cache lines.
struct Ahead {
  const char* at;  // panel p at at + p * stride
  int64_t stride;
  int lines;
};

// a [kn][Rows]; w: panel p at w + p * stride, [kn][16]; tile [Rows][Panels * 16].
using Kernel = void (*)(const float* a, const void* w, int64_t stride, int64_t kn, Ahead ahead, float* tile);

template <class W, int Panels, int Rows>
void MicroKernel(const float* HWY_RESTRICT a, const void* weights, int64_t stride, int64_t kn, Ahead ahead, float* HWY_RESTRICT tile) {
  using T = typename W::T;
  constexpr int kCols = Panels * kVectors;
  const DF d;
  const T* w[Panels];
  VF sum[Rows][kCols];
  StartTile(static_cast<const T*>(weights), stride, w, sum);
  int64_t i = 0;
  for (; i + 4 <= kn; i += 4) {
    FetchWeights(w, kPrefetchBytes);
    for (int line = 0; line < ahead.lines; line++, ahead.at += 64) {
      NS_UNROLL(4)
      for (int p = 0; p < Panels; p++) __builtin_prefetch(ahead.at + p * ahead.stride, 0, 2);
    }
    NS_UNROLL(4)
    for (int u = 0; u < 4; u++) Step<W, Panels, Rows>(a, w, u, sum);
    a += 4 * Rows;
    NS_UNROLL(4)
    for (int p = 0; p < Panels; p++) w[p] += 4 * 16;
  }
  for (; i < kn; i++) {
    Step<W, Panels, Rows>(a, w, 0, sum);
    a += Rows;
    NS_UNROLL(4)
    for (int p = 0; p < Panels; p++) w[p] += 16;
  }
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) hn::Store(sum[r][v], d, tile + r * Panels * 16 + v * kLanes);
  }
}

template <class W, int Panels, int... I>
constexpr std::array<Kernel, sizeof...(I)> KernelRow(std::integer_sequence<int, I...>) {
  return {{MicroKernel<W, Panels, I + 1>...}};
}

// The kernel for a tile of rows (1..limit for this panel count).
template <class W>
Kernel Pick(int panels, int rows) {
  static constexpr auto one = KernelRow<W, 1>(std::make_integer_sequence<int, kRows>());
  static constexpr auto two = KernelRow<W, 2>(std::make_integer_sequence<int, kRows2>());
  static constexpr auto four = KernelRow<W, 4>(std::make_integer_sequence<int, kRows4 + (kRows4 == 0)>());
  return panels == 4   ? four[static_cast<size_t>(rows - 1)]
         : panels == 2 ? two[static_cast<size_t>(rows - 1)]
                       : one[static_cast<size_t>(rows - 1)];
}

inline Kernel PickKernel(DType dtype, int panels, int rows) {
  return dtype == DType::f32   ? Pick<WeightF32>(panels, rows)
         : dtype == DType::f16 ? Pick<WeightF16>(panels, rows)
         : dtype == DType::u8  ? Pick<WeightI8>(panels, rows)
                               : Pick<WeightBF16>(panels, rows);
}

inline int PanelsFor(int rows) { return rows <= kRows4 ? 4 : rows <= kRows2 ? 2 : 1; }

// dst[k * rows + r] = from[r][k] for k < kn. Writes up to 3 floats past the end, before dst[rows * kn + 3].
inline void PackRows(const float* const* from, int rows, int64_t kn, float* HWY_RESTRICT dst) {
  int64_t k = 0;
#if HWY_TARGET != HWY_SCALAR
  // A cache line of every row at a time: rows whose distance is a multiple of 4 KiB share few lines of the cache. The last group first:
  // what its stores spill past row rows - 1 is overwritten by the groups and k that follow.
  for (const int64_t whole = kn / 4 * 4; k < whole;) {
    const int64_t run = HWY_MIN(whole - k, int64_t{16});
    for (int g = (rows + 3) / 4 - 1; g >= 0; g--) {
      const float* p[4];
      for (int j = 0; j < 4; j++) p[j] = from[HWY_MIN(g * 4 + j, rows - 1)] + k;
      float* to = dst + k * rows + g * 4;
      for (int64_t i = 0; i < run; i += 4, to += 4 * rows) Transpose4(p[0] + i, p[1] + i, p[2] + i, p[3] + i, to, rows);
    }
    k += run;
  }
#endif
  for (; k < kn; k++) {
    for (int r = 0; r < rows; r++) dst[k * rows + r] = from[r][k];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_GEMM_KERNEL_INL_H_

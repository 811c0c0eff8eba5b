// The device part of cuda/common/ptx.h on the host: copies that really arrive late, matrix loads and products of a whole warp.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>
#include <type_traits>

#include "cuda/emulation/device_math.h"
#include "cuda/emulation/warp_products.h"
#include "cuda/emulation/warpgroup.h"

namespace ns::cuda {

inline void copyAsync16(void* to, const void* from, bool valid) { emulation::beginCopy(to, from, 16, valid); }
inline void copyAsync4(void* to, const void* from, bool valid) { emulation::beginCopy(to, from, 4, valid); }
inline void copyCommit() { emulation::commitCopies(); }
template <int N>
inline void copyWait() {
  emulation::waitForCopies(N);
}

inline void blockBarrier() { emulation::blockBarrier(emulation::Wait::syncthreads, 0); }

inline void loadMatrix4(unsigned (&r)[4], const void* row) { emulation::loadMatrix(r, row, emulation::Wait::loadMatrix); }
inline void loadMatrix4Transposed(unsigned (&r)[4], const void* row) {
  emulation::loadMatrix(r, row, emulation::Wait::loadMatrixTransposed);
}

template <class T>
inline void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
template <>
inline void multiply<__nv_bfloat16>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  emulation::multiply(c, a, b, emulation::Wait::multiplyBf16);
}
template <>
inline void multiply<__half>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  emulation::multiply(c, a, b, emulation::Wait::multiplyF16);
}
inline void multiplyTf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  emulation::multiply(c, a, b, emulation::Wait::multiplyTf32);
}
// To nearest, ties away from zero; NaN as the device gives it.
inline unsigned toTf32(float v) {
  unsigned x;
  memcpy(&x, &v, sizeof(x));
  if ((x & 0x7f800000u) == 0x7f800000u) return (x & 0x7fffffu) ? 0x7fffffffu : x;
  return (x + 0x1000u) & 0xffffe000u;
}
inline float exp2Fast(float v) { return exp2f(v); }

inline unsigned sharedAddress(const void* p) { return emulation::sharedOffset(p); }
inline void fenceAsyncProxy() { emulation::fenceProxy(); }
inline void groupFence() { emulation::groupFence(); }
inline void groupCommit() { emulation::groupCommit(); }
template <int N>
inline void groupWait() {
  emulation::groupWait(N);
}
inline void holdRegisters(float (&)[8][4]) {}
template <class T>
inline void groupMultiply(float (&c)[8][4], unsigned a, unsigned b, bool add) {
  constexpr uint64_t upper = uint64_t{kMatrixUpper} << 32;
  emulation::groupMultiply({&c[0][0], nullptr, upper | a, upper | b, add, std::is_same_v<T, __half>});
}
template <class T>
inline void groupMultiply(float (&c)[8][4], const unsigned (&a)[4], unsigned b) {
  emulation::groupMultiply({&c[0][0], a, 0, uint64_t{kMatrixUpper} << 32 | b, true, std::is_same_v<T, __half>});
}

}  // namespace ns::cuda

// The instructions that have no C++ form: asynchronous copies, matrix loads and tensor-core products (sm_80 and later).
// Fragments are those of the PTX manual (mma.m16n8k16, m16n8k8 for tf32): with g = lane / 4 and t = lane % 4,
//   C: c[0..1] row g, columns 2t, 2t+1; c[2..3] row g + 8. A (16 bit): a[0] row g, k 2t..2t+1; a[1] row g + 8; a[2], a[3] the same at k
//   + 8. B (16 bit): b[0] column g, k 2t..2t+1; b[1] at k + 8. tf32: a[0] (g, t), a[1] (g + 8, t), a[2] (g, t + 4), a[3] (g + 8, t + 4);
//   b[0] (k t), b[1] (k t + 4).
#pragma once
#include "cuda/common/half.h"

namespace ns::cuda {

// Two f32 as one register of 16-bit values, the first in the low half.
template <class T>
__device__ inline unsigned pair(float lo, float hi) {
  const T v[2] = {fromFloat<T>(lo), fromFloat<T>(hi)};
  unsigned r;
  memcpy(&r, v, sizeof(r));
  return r;
}

}  // namespace ns::cuda

#ifdef NS_EMULATED
#include "cuda/emulation/ptx.h"
#else

namespace ns::cuda {

__device__ inline unsigned sharedAddress(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// 16 bytes from global to shared memory, zeros where `valid` is false (the source is then not read). Both aligned to 16.
__device__ inline void copyAsync16(void* to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(to)), "l"(from), "r"(bytes) : "memory");
}
// The same with 4 bytes.
__device__ inline void copyAsync4(void* to, const void* from, bool valid) {
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(sharedAddress(to)), "l"(from), "r"(bytes) : "memory");
}
__device__ inline void copyCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N committed groups of this thread are still under way; other threads' copies need a barrier after it.
template <int N>
__device__ inline void copyWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8 (16 bytes, aligned).
__device__ inline void loadMatrix4(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(sharedAddress(row))
               : "memory");
}
// The same, each matrix transposed.
__device__ inline void loadMatrix4Transposed(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(sharedAddress(row))
               : "memory");
}

// c += a b for a 16x8 tile over k = 16.
template <class T>
__device__ inline void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
template <>
__device__ inline void multiply<bf16>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ inline void multiply<f16>(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// c += a b for a 16x8 tile over k = 8; the operands are bits of f32, rounded by toTf32.
__device__ inline void multiplyTf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ inline unsigned toTf32(float v) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
}

}  // namespace ns::cuda
#endif

// The instructions that have no C++ form: asynchronous copies, matrix loads and tensor-core products (sm_80 and later), and those of a
// warpgroup (sm_90a).
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

// wgmma (PTX manual, 9.7.15): a warpgroup is four whole warps from a multiple of four on. Its product starts asynchronously; its fragments
// are those above for each warp's 16 rows, c[n] for the columns 8 n .. 8 n + 7. Matrices in shared memory are told by a descriptor: bits
// 0-13 address / 16, 16-29 leading byte offset / 16 (not used where 128 bytes hold a row), 32-45 stride from 8 rows to the next / 16, 62-63
// swizzling mode (1: 128 bytes, 16-byte chunk c of row r at c ^ r % 8 by address bits 4-6 and 7-9). A tile begins at a multiple of 1024.
// The upper half is the same for all here: a matrix is the lower one.
constexpr unsigned kSwizzleAtom = 1024, kMatrixUpper = kSwizzleAtom >> 4 | 1u << 30;
__host__ __device__ inline unsigned matrixOf(unsigned address) { return (address >> 4 & 0x3fffu) | 1u << 16; }
// The same matrix some bytes further: 32 for the next 16 columns, 2048 for the next 16 rows.
__host__ __device__ inline unsigned further(unsigned matrix, unsigned bytes) { return matrix + (bytes >> 4); }

}  // namespace ns::cuda

#if defined(NS_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define NS_WARPGROUPS
#endif

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

// The barrier of all threads of a block, which whole warps may reach from different places; __syncthreads promises one place alone.
__device__ inline void blockBarrier() { asm volatile("bar.sync 0;" ::: "memory"); }

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

// 2 to the power of v, to 2 units in the last place; results below the least normal number are zero.
__device__ inline float exp2Fast(float v) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}

#ifdef NS_WARPGROUPS
// Orders this thread's writes of shared memory, copies that have arrived included, before what products read; a barrier must follow.
__device__ inline void fenceAsyncProxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Before the first product, and between any access of its registers and the next product.
__device__ inline void groupFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void groupCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most N committed groups of products are still under way.
template <int N>
__device__ inline void groupWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// The compiler may not move what reads or writes these registers across it: to it they are ready before the wait.
__device__ inline void holdRegisters(float (&c)[8][4]) {
#pragma unroll
  for (int i = 0; i < 32; i++) asm volatile("" : "+f"(c[i / 4][i % 4])::"memory");
}

#define NS_SUMS(c)                                                                                                                       \
  "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]), \
      "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]),            \
      "+f"(c[4][1]), "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), "+f"(c[6][0]),            \
      "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), "+f"(c[7][2]), "+f"(c[7][3])
#define NS_SUM_NUMBERS                                                                     \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, " \
  "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
#define NS_GROUP_MULTIPLY(T, name)                                                                                               \
  template <>                                                                                                                    \
  __device__ inline void groupMultiply<T>(float(&c)[8][4], unsigned a, unsigned b, bool add) {                                   \
    asm volatile(                                                                                                                \
        "{\n.reg .pred p;\n.reg .b64 a, b;\nsetp.ne.s32 p, %35, 0;\nmov.b64 a, {%32, %34};\nmov.b64 b, {%33, %34};\n"            \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." name "." name " " NS_SUM_NUMBERS "a, b, p, 1, 1, 0, 0;\n}"                 \
        : NS_SUMS(c)                                                                                                             \
        : "r"(a), "r"(b), "r"(kMatrixUpper), "r"(static_cast<int>(add)));                                                        \
  }                                                                                                                              \
  template <>                                                                                                                    \
  __device__ inline void groupMultiply<T>(float(&c)[8][4], const unsigned(&a)[4], unsigned b) {                                  \
    asm volatile(                                                                                                                \
        "{\n.reg .b64 b;\nmov.b64 b, {%36, %37};\n"                                                                              \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." name "." name " " NS_SUM_NUMBERS "{%32, %33, %34, %35}, b, 1, 1, 1, 1;\n}" \
        : NS_SUMS(c)                                                                                                             \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(kMatrixUpper));                                                \
  }
// c (+)= a b^T for 64 x 64 over k = 16: both matrices in shared memory in rows of k. add: false writes over c.
template <class T>
__device__ inline void groupMultiply(float (&c)[8][4], unsigned a, unsigned b, bool add);
// c += a b: a in registers, b in shared memory in rows of 64 columns.
template <class T>
__device__ inline void groupMultiply(float (&c)[8][4], const unsigned (&a)[4], unsigned b);
NS_GROUP_MULTIPLY(f16, "f16")
NS_GROUP_MULTIPLY(bf16, "bf16")
#undef NS_GROUP_MULTIPLY
#undef NS_SUM_NUMBERS
#undef NS_SUMS
#endif

}  // namespace ns::cuda
#endif

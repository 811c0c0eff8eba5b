// The few names of cuBLASLt that are used, so that neither its headers nor the library are needed to build. Values and structures are those
// of cublasLt.h, unchanged from version 11 to 13; cuda/test/test_blas.cpp compares them with the header where there is one.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace ns::cuda::lt {

using Handle = void*;
using Object = void*;  // a descriptor of a product or a matrix, or a preference
using Result = int;    // 0: success

enum Type : int { kReal32 = 0, kReal16 = 2, kBrain16 = 14 };
enum Compute : int { kCompute32 = 68, kComputeTf32 = 77 };
enum Operation : int32_t { kAsIs = 0, kTransposed = 1 };
enum DescAttribute : int { kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum LayoutAttribute : int { kBatchCount = 5, kBatchStride = 6 };
enum PreferenceAttribute : int {
  kMaxWorkspace = 1,
  kReductionMask = 3,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8
};
constexpr uint32_t kEpilogueBias = 4;
constexpr uint32_t kReduceInComputeType = 2;  // parts of k are summed in f32, in order

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  Result state;
  float waves;
  int reserved[4];
};

// Matrices are column-major: D = alpha op(A) op(B) + beta C.
struct Api {
  Result (*create)(Handle*);
  Result (*destroy)(Handle);
  Result (*descCreate)(Object*, Compute, Type scale);
  Result (*descDestroy)(Object);
  Result (*descSet)(Object, DescAttribute, const void*, size_t);
  Result (*layoutCreate)(Object*, Type, uint64_t rows, uint64_t cols, int64_t ld);
  Result (*layoutDestroy)(Object);
  Result (*layoutSet)(Object, LayoutAttribute, const void*, size_t);
  Result (*preferenceCreate)(Object*);
  Result (*preferenceDestroy)(Object);
  Result (*preferenceSet)(Object, PreferenceAttribute, const void*, size_t);
  Result (*heuristic)(Handle, Object desc, Object a, Object b, Object c, Object d, Object preference, int wanted, Heuristic*, int* found);
  Result (*matmul)(Handle, Object desc, const void* alpha, const void* a, Object aLayout, const void* b, Object bLayout, const void* beta,
                   const void* c, Object cLayout, void* d, Object dLayout, const Algorithm*, void* workspace, size_t workspaceBytes,
                   cudaStream_t stream);
};

}  // namespace ns::cuda::lt

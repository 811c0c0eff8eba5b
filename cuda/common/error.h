// CUDA's errors as the engine's, and errors that a kernel finds in its data.
#pragma once
#include "cuda/common/context.h"

namespace ns::cuda {

inline NsCode codeOf(cudaError_t e) {
  switch (e) {
    case cudaSuccess: return NS_OK;
    case cudaErrorMemoryAllocation: return NS_OUT_OF_MEMORY;
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice: return NS_UNSUPPORTED;
    // These end the context: every later call fails as well.
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorDevicesUnavailable: return NS_LOST;
    default: return NS_INTERNAL;
  }
}

inline Status check(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return Status();
  return failure(codeOf(e), "%s: %s (%s)", what, cudaGetErrorString(e), cudaGetErrorName(e));
}

// Called by any thread of a kernel: the first error is kept, later ones are dropped.
__device__ inline void raise(DeviceError* error, int32_t op, int32_t code, int64_t at, int64_t value) {
  if (atomicCAS(&error->code, 0, code) != 0) return;
  error->op = op;
  error->at = at;
  error->value = value;
}

}  // namespace ns::cuda

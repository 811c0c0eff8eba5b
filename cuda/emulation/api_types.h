// Errors, attributes and structs of the runtime with the toolkit's names and values.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda/emulation/qualifiers.h"

#define NS_CUDA_ERRORS(X)                                                                                       \
  X(cudaSuccess, 0, "no error")                                                                                 \
  X(cudaErrorInvalidValue, 1, "invalid argument")                                                               \
  X(cudaErrorMemoryAllocation, 2, "out of memory")                                                              \
  X(cudaErrorInitializationError, 3, "initialization error")                                                    \
  X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                         \
  X(cudaErrorInsufficientDriver, 35, "CUDA driver version is insufficient for CUDA runtime version")            \
  X(cudaErrorDevicesUnavailable, 46, "CUDA-capable device(s) is/are busy or unavailable")                       \
  X(cudaErrorInvalidDeviceFunction, 98, "invalid device function")                                              \
  X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                               \
  X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                                      \
  X(cudaErrorNoKernelImageForDevice, 209, "no kernel image is available for execution on the device")           \
  X(cudaErrorECCUncorrectable, 214, "uncorrectable ECC error encountered")                                      \
  X(cudaErrorUnsupportedPtxVersion, 222, "the provided PTX was compiled with an unsupported toolchain.")        \
  X(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                             \
  X(cudaErrorNotReady, 600, "device not ready")                                                                 \
  X(cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")                                   \
  X(cudaErrorLaunchOutOfResources, 701, "too many resources requested for launch")                              \
  X(cudaErrorLaunchTimeout, 702, "the launch timed out and was terminated")                                     \
  X(cudaErrorAssert, 710, "device-side assert triggered")                                                       \
  X(cudaErrorHostMemoryAlreadyRegistered, 712, "part or all of the requested memory range is already mapped")   \
  X(cudaErrorHostMemoryNotRegistered, 713, "pointer does not correspond to a registered memory region")         \
  X(cudaErrorHardwareStackError, 714, "hardware stack error")                                                   \
  X(cudaErrorIllegalInstruction, 715, "an illegal instruction was encountered")                                 \
  X(cudaErrorMisalignedAddress, 716, "misaligned address")                                                      \
  X(cudaErrorInvalidAddressSpace, 717, "operation not supported on global/shared address space")                \
  X(cudaErrorInvalidPc, 718, "invalid program counter")                                                         \
  X(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                                  \
  X(cudaErrorNotPermitted, 800, "operation not permitted")                                                      \
  X(cudaErrorNotSupported, 801, "operation not supported")                                                      \
  X(cudaErrorStreamCaptureUnsupported, 900, "operation not permitted when stream is capturing")                 \
  X(cudaErrorStreamCaptureInvalidated, 901, "operation failed due to a previous error during capture")          \
  X(cudaErrorStreamCaptureMerge, 902, "operation would result in a merge of separate capture sequences")        \
  X(cudaErrorStreamCaptureUnmatched, 903, "capture was not ended in the same stream as it began")               \
  X(cudaErrorStreamCaptureUnjoined, 904, "capturing stream has unjoined work")                                  \
  X(cudaErrorStreamCaptureIsolation, 905, "dependency created on uncaptured work in another stream")            \
  X(cudaErrorStreamCaptureImplicit, 906, "operation would make the legacy stream depend on a capturing stream") \
  X(cudaErrorCapturedEvent, 907, "operation not permitted on an event last recorded in a capturing stream")     \
  X(cudaErrorStreamCaptureWrongThread, 908, "attempt to terminate a capture from another thread")               \
  X(cudaErrorUnknown, 999, "unknown error")

enum cudaError {
#define NS_VALUE(name, value, text) name = value,
  NS_CUDA_ERRORS(NS_VALUE)
#undef NS_VALUE
};
using cudaError_t = cudaError;

using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;
using cudaGraphNode_t = struct CUgraphNode_st*;
using cudaMemPool_t = struct CUmemPool_st*;

#define cudaStreamLegacy (reinterpret_cast<cudaStream_t>(0x1))
#define cudaStreamPerThread (reinterpret_cast<cudaStream_t>(0x2))

enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout = 9 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeThreadLocal = 1, cudaStreamCaptureModeRelaxed = 2 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1, cudaStreamCaptureStatusInvalidated = 2 };
enum cudaMemPoolAttr {
  cudaMemPoolReuseFollowEventDependencies = 1,
  cudaMemPoolReuseAllowOpportunistic = 2,
  cudaMemPoolReuseAllowInternalDependencies = 3,
  cudaMemPoolAttrReleaseThreshold = 4,
  cudaMemPoolAttrReservedMemCurrent = 5,
  cudaMemPoolAttrReservedMemHigh = 6,
  cudaMemPoolAttrUsedMemCurrent = 7,
  cudaMemPoolAttrUsedMemHigh = 8
};
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMaxRegistersPerBlock = 12,
  cudaDevAttrClockRate = 13,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeMode = 20,
  cudaDevAttrMemoryClockRate = 36,
  cudaDevAttrGlobalMemoryBusWidth = 37,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
  cudaDevAttrMemoryPoolsSupported = 115
};
enum cudaMemoryType { cudaMemoryTypeUnregistered = 0, cudaMemoryTypeHost = 1, cudaMemoryTypeDevice = 2, cudaMemoryTypeManaged = 3 };
enum : unsigned {
  cudaStreamDefault = 0,
  cudaStreamNonBlocking = 1,
  cudaEventDefault = 0,
  cudaEventBlockingSync = 1,
  cudaEventDisableTiming = 2,
  cudaHostAllocDefault = 0,
  cudaHostAllocPortable = 1,
  cudaHostAllocMapped = 2,
  cudaHostAllocWriteCombined = 4,
  cudaHostRegisterDefault = 0,
  cudaDeviceScheduleAuto = 0,
  cudaDeviceScheduleSpin = 1,
  cudaDeviceScheduleYield = 2,
  cudaDeviceScheduleBlockingSync = 4,
  cudaEventWaitDefault = 0
};

enum cudaMemAllocationType { cudaMemAllocationTypeInvalid = 0, cudaMemAllocationTypePinned = 1 };
enum cudaMemAllocationHandleType { cudaMemHandleTypeNone = 0 };
enum cudaMemLocationType { cudaMemLocationTypeInvalid = 0, cudaMemLocationTypeDevice = 1 };
struct cudaMemLocation {
  cudaMemLocationType type;
  int id;
};
struct cudaMemPoolProps {
  cudaMemAllocationType allocType;
  cudaMemAllocationHandleType handleTypes;
  cudaMemLocation location;
  void* win32SecurityAttributes;
  size_t maxSize;
  unsigned short usage;
  unsigned char reserved[54];
};

struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  size_t totalGlobalMem;
  size_t sharedMemPerBlock;
  int regsPerBlock;
  int warpSize;
  int maxThreadsPerBlock;
  int maxThreadsDim[3];
  int maxGridSize[3];
  size_t totalConstMem;
  int major, minor;
  int multiProcessorCount;
  int integrated;
  int canMapHostMemory;
  int concurrentKernels;
  int ECCEnabled;
  int pciBusID, pciDeviceID, pciDomainID;
  int asyncEngineCount;
  int unifiedAddressing;
  int memoryBusWidth;
  int l2CacheSize;
  int maxThreadsPerMultiProcessor;
  size_t sharedMemPerMultiprocessor;
  int regsPerMultiprocessor;
  int managedMemory;
  size_t sharedMemPerBlockOptin;
  size_t reservedSharedMemPerBlock;
};
struct cudaFuncAttributes {
  size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
  int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, cacheModeCA, maxDynamicSharedSizeBytes, preferredShmemCarveout;
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void* devicePointer;
  void* hostPointer;
};
struct cudaLaunchAttribute {
  int id;
  union {
    char pad[64];
    int value;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
using cudaHostFn_t = void (*)(void* data);

// The device, its errors and the launch.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/emulation/state.h"

namespace ns::emulation {

namespace {

constexpr uint64_t kMemory = 80ull << 30;

// An initial value keeps it out of what the scheduler fills before a launch.
thread_local int lastPlusOne = 1;

Faults faultsOf(const char* text) {
  Faults f;
  if (!text) return f;
  if (const char* p = strstr(text, "malloc:")) f.mallocAt = atoll(p + 7);
  if (const char* p = strstr(text, "launch:")) f.launchAt = atoll(p + 7);
  f.noDevice = strstr(text, "device:none") != nullptr;
  f.oldDriver = strstr(text, "driver:old") != nullptr;
  f.oldGpu = strstr(text, "gpu:old") != nullptr;
  f.noImage = strstr(text, "image:none") != nullptr;
  f.late = strstr(text, "late") != nullptr;
  return f;
}

}  // namespace

State& state() {
  static State* one = [] {
    auto* s = new State;
    s->faults = faultsOf(getenv("NEXTSCALE_EMULATION_FAULT"));
    const char* memory = getenv("NEXTSCALE_EMULATION_MEMORY");
    s->limit = memory ? strtoull(memory, nullptr, 10) : kMemory;
    if (const char* arch = getenv("NEXTSCALE_EMULATION_ARCH")) s->arch = atoi(arch);
    return s;
  }();
  return *one;
}

cudaError_t tell(cudaError_t error) {
  if (error != cudaSuccess) lastPlusOne = error + 1;
  return error;
}

cudaError_t standing() {
  State& s = state();
  if (s.faults.oldDriver) return cudaErrorInsufficientDriver;
  if (s.faults.noDevice) return cudaErrorNoDevice;
  return s.sticky;
}

void stick(cudaError_t error, const std::string& why) {
  State& s = state();
  s.sticky = error;
  s.failure = why;
}

void setFaults(const Faults& faults) {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  state().faults = faults;
}
void setMemoryLimit(uint64_t bytes) {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  state().limit = bytes ? bytes : kMemory;
}
void forgetErrors() {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  state().sticky = cudaSuccess;
  state().failure.clear();
  lastPlusOne = 1;
}
std::string lastFailure() {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  return state().failure;
}
uint64_t usedMemory() {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  return state().used;
}
uint64_t launchCount() {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  return state().launches;
}

namespace {

bool shapeFits(const cudaLaunchConfig_t& c) {
  const dim3 g = c.gridDim, b = c.blockDim;
  if (g.x == 0 || g.y == 0 || g.z == 0 || b.x == 0 || b.y == 0 || b.z == 0) return false;
  if (g.x > 2147483647u || g.y > 65535 || g.z > 65535) return false;
  return b.x <= 1024 && b.y <= 1024 && b.z <= 64 && static_cast<uint64_t>(b.x) * b.y * b.z <= 1024;
}

cudaError_t runNow(const Grid& grid) {
  State& s = state();
  s.launches++;
  if (s.faults.launchAt > 0 && --s.faults.launchAt == 0) {
    stick(s.faults.launchError, "injected");
    return s.faults.late ? cudaSuccess : s.sticky;
  }
  const std::string why = runGrid(grid);
  if (why.empty()) return cudaSuccess;
  stick(cudaErrorLaunchFailure, why);
  return s.faults.late ? cudaSuccess : s.sticky;
}

}  // namespace

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, void (*call)(const void*), std::shared_ptr<const void> closure) {
  State& s = state();
  const std::lock_guard<std::recursive_mutex> lock(s.lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (!shapeFits(config)) return tell(cudaErrorInvalidConfiguration);
  const auto optIn = s.dynamicShared.find(kernel);
  const size_t least = kSharedDefault - kSharedStatic, own = optIn == s.dynamicShared.end() ? 0 : static_cast<size_t>(optIn->second);
  if (config.dynamicSmemBytes > (own > least ? own : least)) return tell(cudaErrorInvalidValue);
  Grid grid;
  grid.grid = config.gridDim;
  grid.block = config.blockDim;
  grid.shared = config.dynamicSmemBytes;
  grid.call = call;
  return tell(enqueue(config.stream, [grid, closure] {
    Grid mine = grid;
    mine.closure = closure.get();
    return runNow(mine);
  }));
}

cudaError_t occupancy(int* blocks, int threads, size_t shared) {
  if (threads <= 0 || threads > 1024) return tell(cudaErrorInvalidValue);
  const int byThreads = 2048 / ((threads + 31) / 32 * 32);
  const size_t byShared = 228 * 1024 / (shared + 1024);
  *blocks = byShared < static_cast<size_t>(byThreads) ? static_cast<int>(byShared) : byThreads;
  return cudaSuccess;
}

}  // namespace ns::emulation

using ns::emulation::standing;
using ns::emulation::state;
using ns::emulation::tell;

const char* cudaGetErrorString(cudaError_t error) {
  if (error == state().sticky && error != cudaSuccess) {
    thread_local char text[300] = {1};
    snprintf(text, sizeof(text), "%s", ns::emulation::lastFailure().c_str());
    return text;
  }
  switch (error) {
#define NS_TEXT(name, value, text) \
  case name: return text;
    NS_CUDA_ERRORS(NS_TEXT)
#undef NS_TEXT
  }
  return "unrecognized error code";
}
const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define NS_NAME(name, value, text) \
  case name: return #name;
    NS_CUDA_ERRORS(NS_NAME)
#undef NS_NAME
  }
  return "cudaErrorUnknown";
}
cudaError_t cudaPeekAtLastError() {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  return standing() != cudaSuccess ? standing() : static_cast<cudaError_t>(ns::emulation::lastPlusOne - 1);
}
cudaError_t cudaGetLastError() {
  const cudaError_t e = cudaPeekAtLastError();
  ns::emulation::lastPlusOne = 1;
  return e;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = state().faults.oldDriver ? 11000 : state().faults.noDevice ? 0 : CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  const auto& f = state().faults;
  if (f.oldDriver) return tell(cudaErrorInsufficientDriver);
  if (f.noDevice) return tell(cudaErrorNoDevice);
  *count = 1;
  return cudaSuccess;
}
namespace {
cudaError_t known(int device) { return tell(standing() != cudaSuccess ? standing() : device ? cudaErrorInvalidDevice : cudaSuccess); }
}  // namespace
cudaError_t cudaSetDevice(int device) { return state().faults.busy ? tell(cudaErrorDevicesUnavailable) : known(device); }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return tell(standing());
}
cudaError_t cudaInitDevice(int device, unsigned, unsigned) { return cudaSetDevice(device); }
cudaError_t cudaSetDeviceFlags(unsigned) { return tell(standing()); }
cudaError_t cudaDeviceReset() {
  ns::emulation::forgetErrors();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (known(device) != cudaSuccess) return cudaPeekAtLastError();
  *p = cudaDeviceProp();
  snprintf(p->name, sizeof(p->name), "emulated on the host");
  p->totalGlobalMem = state().limit;
  p->sharedMemPerBlock = ns::emulation::kSharedDefault;
  p->sharedMemPerBlockOptin = ns::emulation::kSharedOptIn;
  p->sharedMemPerMultiprocessor = 228 * 1024;
  p->reservedSharedMemPerBlock = 1024;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 65536;
  p->major = state().faults.oldGpu ? 7 : state().arch / 10;
  p->minor = state().faults.oldGpu ? 5 : state().arch % 10;
  p->multiProcessorCount = ns::emulation::kSms;
  p->canMapHostMemory = p->concurrentKernels = p->unifiedAddressing = 1;
  p->asyncEngineCount = 3;
  p->memoryBusWidth = 5120;
  p->l2CacheSize = 50 << 20;
  p->maxThreadsPerMultiProcessor = 2048;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attr, int device) {
  cudaDeviceProp p;
  if (const cudaError_t e = cudaGetDeviceProperties(&p, device); e != cudaSuccess) return e;
  switch (attr) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
    case cudaDevAttrClockRate: *value = 1980000; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrComputeMode: *value = 0; break;
    case cudaDevAttrMemoryClockRate: *value = 2619000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(p.sharedMemPerMultiprocessor); break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
    case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
    default: return tell(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attr, int value) {
  const std::lock_guard<std::recursive_mutex> lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (attr != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > ns::emulation::kSharedOptIn) return tell(cudaErrorInvalidValue);
  state().dynamicShared[kernel] = value;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = cudaFuncAttributes();
  attributes->maxThreadsPerBlock = 1024;
  attributes->numRegs = 32;
  attributes->binaryVersion = attributes->ptxVersion = 90;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(ns::emulation::kSharedDefault);
  if (state().faults.noImage) return tell(cudaErrorNoKernelImageForDevice);
  return tell(standing());
}

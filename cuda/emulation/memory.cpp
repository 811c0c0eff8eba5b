// Device and pinned memory. Copies check that the device's side lies in one allocation.
#include <cstdlib>
#include <cstring>

#include "cuda/emulation/state.h"

using ns::emulation::standing;
using ns::emulation::State;
using ns::emulation::state;
using ns::emulation::tell;

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;
using Ranges = std::map<uintptr_t, size_t>;

constexpr size_t kAlign = 512;
constexpr size_t kFill = 16u << 20;  // of more than this only the beginning is filled

bool inside(const Ranges& ranges, const void* p, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  auto it = ranges.upper_bound(at);
  if (it == ranges.begin()) return false;
  --it;
  return at + bytes <= it->first + it->second;
}

bool onDevice(const void* p, size_t bytes) { return inside(state().device, p, bytes); }

cudaError_t take(void** p, size_t bytes) {
  State& s = state();
  *p = nullptr;
  if (s.faults.mallocAt > 0 && --s.faults.mallocAt == 0) return cudaErrorMemoryAllocation;
  if (bytes == 0) return cudaSuccess;
  if (bytes > s.limit || s.used > s.limit - bytes) return cudaErrorMemoryAllocation;
  // The exact size, so that AddressSanitizer sees an access behind the end.
  if (posix_memalign(p, kAlign, bytes) != 0) return cudaErrorMemoryAllocation;
  memset(*p, 0xff, bytes < kFill ? bytes : kFill);  // NaN
  s.device[reinterpret_cast<uintptr_t>(*p)] = bytes;
  s.used += bytes;
  return cudaSuccess;
}

cudaError_t drop(void* p) {
  State& s = state();
  if (!p) return cudaSuccess;
  const auto it = s.device.find(reinterpret_cast<uintptr_t>(p));
  if (it == s.device.end()) return cudaErrorInvalidValue;
  s.used -= it->second;
  s.device.erase(it);
  free(p);
  return cudaSuccess;
}

cudaError_t unsafeOr(cudaError_t (*then)(void**, size_t), void** p, size_t bytes) {
  const cudaError_t e = ns::emulation::unsafe();
  return e != cudaSuccess ? e : then(p, bytes);
}

// Which sides must be the device's, or cudaErrorInvalidValue.
cudaError_t checkSides(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (!to || !from) return cudaErrorInvalidValue;
  const bool toDevice = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool fromDevice = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (toDevice && !onDevice(to, bytes)) return cudaErrorInvalidValue;
  if (fromDevice && !onDevice(from, bytes)) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyHostToDevice && onDevice(from, bytes)) return cudaErrorInvalidValue;
  if (kind == cudaMemcpyDeviceToHost && onDevice(to, bytes)) return cudaErrorInvalidValue;
  return cudaSuccess;
}

bool isPageable(const void* p) { return !onDevice(p, 1) && !inside(state().pinned, p, 1); }

}  // namespace

cudaError_t cudaMalloc(void** p, size_t bytes) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  return tell(unsafeOr(take, p, bytes));
}
cudaError_t cudaFree(void* p) {
  const Lock lock(state().lock);
  if (!p) return tell(standing());
  if (const cudaError_t e = ns::emulation::unsafe(); e != cudaSuccess) return tell(e);
  const cudaError_t e = drop(p);
  return tell(standing() != cudaSuccess ? standing() : e);
}
cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t stream) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (ns::emulation::streamOf(stream).capturing) return tell(cudaErrorNotSupported);
  return tell(take(p, bytes));
}
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  const Lock lock(state().lock);
  if (ns::emulation::streamOf(stream).capturing) return tell(cudaErrorNotSupported);
  const cudaError_t e = drop(p);
  return tell(standing() != cudaSuccess ? standing() : e);
}

cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  const auto host = [](void** out, size_t n) {
    *out = nullptr;
    if (n == 0) return cudaSuccess;
    if (posix_memalign(out, 4096, n) != 0) return cudaErrorMemoryAllocation;
    state().pinned[reinterpret_cast<uintptr_t>(*out)] = n;
    return cudaSuccess;
  };
  return tell(unsafeOr(host, p, bytes));
}
cudaError_t cudaMallocHost(void** p, size_t bytes, unsigned flags) { return cudaHostAlloc(p, bytes, flags); }
cudaError_t cudaFreeHost(void* p) {
  const Lock lock(state().lock);
  if (!p) return cudaSuccess;
  if (!state().pinned.erase(reinterpret_cast<uintptr_t>(p))) return tell(cudaErrorInvalidValue);
  free(p);
  return tell(standing());
}
cudaError_t cudaHostRegister(void* p, size_t bytes, unsigned) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (!state().pinned.emplace(reinterpret_cast<uintptr_t>(p), bytes).second) return tell(cudaErrorHostMemoryAlreadyRegistered);
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* p) {
  const Lock lock(state().lock);
  if (!state().pinned.erase(reinterpret_cast<uintptr_t>(p))) return tell(cudaErrorHostMemoryNotRegistered);
  return tell(standing());
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Lock lock(state().lock);
  *total = state().limit;
  *free = state().limit - state().used;
  return tell(standing());
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) {
  const Lock lock(state().lock);
  void* at = const_cast<void*>(p);
  *a = {cudaMemoryTypeUnregistered, -1, nullptr, nullptr};
  if (onDevice(p, 1)) *a = {cudaMemoryTypeDevice, 0, at, nullptr};
  if (inside(state().pinned, p, 1)) *a = {cudaMemoryTypeHost, 0, at, at};
  return tell(standing());
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (bytes == 0) return cudaSuccess;
  if (const cudaError_t e = checkSides(to, from, bytes, kind); e != cudaSuccess) return tell(e);
  if (state().faults.pinned && (isPageable(to) || isPageable(from))) return tell(cudaErrorInvalidValue);
  CUstream_st& s = ns::emulation::streamOf(stream);
  if (s.capturing && (isPageable(to) || isPageable(from))) {
    s.invalidated = true;
    return tell(cudaErrorStreamCaptureUnsupported);
  }
  return tell(ns::emulation::enqueue(stream, [=] {
    memmove(to, from, bytes);
    return cudaSuccess;
  }));
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Lock lock(state().lock);
  if (const cudaError_t e = ns::emulation::unsafe(); e != cudaSuccess) return tell(cudaErrorStreamCaptureImplicit);
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  const Lock lock(state().lock);
  if (standing() != cudaSuccess) return tell(standing());
  if (bytes == 0) return cudaSuccess;
  if (!onDevice(p, bytes) && !inside(state().pinned, p, bytes)) return tell(cudaErrorInvalidValue);
  return tell(ns::emulation::enqueue(stream, [=] {
    memset(p, value, bytes);
    return cudaSuccess;
  }));
}
cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  const Lock lock(state().lock);
  if (const cudaError_t e = ns::emulation::unsafe(); e != cudaSuccess) return tell(cudaErrorStreamCaptureImplicit);
  return cudaMemsetAsync(p, value, bytes, nullptr);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  *pool = reinterpret_cast<cudaMemPool_t>(&state());
  return cudaSetDevice(device);
}
// All pools are the device's: nothing is kept that was freed.
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* props) {
  *pool = nullptr;
  if (props->allocType != cudaMemAllocationTypePinned || props->location.type != cudaMemLocationTypeDevice)
    return tell(cudaErrorInvalidValue);
  return cudaDeviceGetDefaultMemPool(pool, props->location.id);
}
cudaError_t cudaMemPoolDestroy(cudaMemPool_t) { return tell(standing()); }
cudaError_t cudaMallocFromPoolAsync(void** p, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  return pool ? cudaMallocAsync(p, bytes, stream) : tell(cudaErrorInvalidValue);
}
cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* pool, int device) { return cudaDeviceGetDefaultMemPool(pool, device); }
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return tell(standing()); }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attr, void* value) {
  const Lock lock(state().lock);
  const bool bytes = attr >= cudaMemPoolAttrReservedMemCurrent;
  if (bytes) *static_cast<uint64_t*>(value) = state().used;
  return tell(bytes ? standing() : cudaErrorNotSupported);
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return tell(standing()); }

// The only place that starts a kernel.
#pragma once
#include <map>
#include <mutex>
#include <utility>

#include "cuda/common/error.h"

namespace ns::cuda {

struct Shape {
  dim3 grid;
  dim3 block;
  size_t shared = 0;  // dynamic, bytes
};

// More needs the opt-in: without it a block has 48 KiB, of which the kernel's static shared memory (here at most 8) is a part.
constexpr size_t kWithoutOptIn = 40 * 1024;

// Only grows: it is the kernel's in the whole process, and the thread of another engine may be between its opt-in and its launch.
inline Status optIn(const void* kernel, size_t bytes) {
  static auto& known = *new std::map<std::pair<const void*, int>, size_t>;
  static auto& mutex = *new std::mutex;
  int device = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e != cudaSuccess) return check(e, "device");
  const std::lock_guard<std::mutex> lock(mutex);
  size_t& most = known[{kernel, device}];
  if (bytes <= most) return Status();
  e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (e == cudaSuccess) most = bytes;
  return check(e, "shared memory of a kernel");
}

// An empty grid is no work. The arguments are converted to the kernel's parameter types.
template <class... P, class... A>
Status launch(const Context& ctx, void (*kernel)(P...), const Shape& shape, A... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return Status();
  if (shape.shared > kWithoutOptIn) {
    const Status s = optIn(reinterpret_cast<const void*>(kernel), shape.shared);
    if (!s.ok()) return s;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared;
  config.stream = ctx.stream;
  return check(cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...), "kernel launch");
}

inline int64_t divUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks for a loop that strides over the grid: enough to fill the device, no more than there is work.
inline dim3 gridFor(const Context& ctx, int64_t blocks, int perSm = 8) {
  const int64_t most = static_cast<int64_t>(ctx.sms) * perSm;
  return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
}

}  // namespace ns::cuda

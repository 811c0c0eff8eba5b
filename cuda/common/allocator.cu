#include <cstdio>

#include "cuda/common/allocator.h"

namespace ns::cuda {

namespace {

std::string bytesText(size_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB"};
  double v = static_cast<double>(bytes);
  int unit = 0;
  for (; v >= 1024 && unit < 3; unit++) v /= 1024;
  char text[32];
  snprintf(text, sizeof(text), unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
  return text;
}

}  // namespace

Status Allocator::open() {
  int pools = 0;
  Status s = device_.note(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, device_.index()), "memory pools");
  if (!s.ok() || !pools) return s;  // without pools: cudaMalloc, which waits for the device
  cudaMemPoolProps props{};
  props.allocType = cudaMemAllocationTypePinned;
  props.location.type = cudaMemLocationTypeDevice;
  props.location.id = device_.index();
  s = device_.note(cudaMemPoolCreate(&pool_, &props), "memory pool");
  uint64_t keep = UINT64_MAX;
  if (s.ok()) s = device_.note(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep), "memory pool");
  return s;
}

Allocator::~Allocator() {
  if (pool_) cudaMemPoolDestroy(pool_);
  cudaGetLastError();
}

cudaError_t Allocator::ask(void** data, size_t bytes) {
  if (limit_ && held_ + bytes > limit_) return cudaErrorMemoryAllocation;
  if (!pool_) return cudaMalloc(data, bytes);
  if (!device_.capturing) return cudaMallocFromPoolAsync(data, bytes, pool_, device_.compute);
  const cudaError_t e = cudaMallocFromPoolAsync(data, bytes, pool_, device_.copy);
  return e == cudaSuccess ? cudaStreamSynchronize(device_.copy) : e;
}

void* Allocator::take(size_t bytes, Status& status) {
  status = device_.lost();
  if (!status.ok()) return nullptr;
  void* data = nullptr;
  cudaError_t e = ask(&data, bytes);
  if (e == cudaErrorMemoryAllocation && !device_.capturing) {
    cudaGetLastError();
    trim();
    e = ask(&data, bytes);
  }
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    status = failure(NS_OUT_OF_MEMORY, "%s", table(bytes).c_str());
    return nullptr;
  }
  status = device_.note(e, "allocation");
  if (!status.ok()) return nullptr;
  held_ += bytes;
  blocks_[bytes]++;
  return data;
}

void Allocator::give(void* data, size_t bytes) {
  if (!data) return;
  held_ -= bytes;
  const auto found = blocks_.find(bytes);
  if (found != blocks_.end() && --found->second == 0) blocks_.erase(found);
  device_.note(pool_ ? cudaFreeAsync(data, device_.compute) : cudaFree(data), "release");
}

void Allocator::trim() {
  if (!pool_) return;
  if (device_.note(cudaStreamSynchronize(device_.compute), "synchronize").ok()) device_.note(cudaMemPoolTrimTo(pool_, 0), "trim");
}

size_t Allocator::pool(cudaMemPoolAttr what) const {
  uint64_t bytes = 0;
  if (!pool_ || cudaMemPoolGetAttribute(pool_, what, &bytes) != cudaSuccess) return 0;
  return static_cast<size_t>(bytes);
}

std::string Allocator::table(size_t bytes) const {
  size_t free = 0, total = 0;
  int count = 0;
  cudaMemGetInfo(&free, &total);
  for (const auto& [size, n] : blocks_) count += n;
  std::string text = "no memory for " + bytesText(bytes) + ": device " + bytesText(total) + ", free " + bytesText(free);
  if (limit_) text += ", limit " + bytesText(limit_);
  text += "; held " + bytesText(held_) + " in " + std::to_string(count) + " blocks; largest";
  int shown = 0;
  for (auto it = blocks_.rbegin(); it != blocks_.rend() && shown < 5; ++it, shown++) {
    text += (shown ? ", " : " ") + bytesText(it->first) + " x" + std::to_string(it->second);
  }
  return text;
}

std::string Allocator::json() const {
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  std::string text = "{\"totalBytes\":" + std::to_string(total) + ",\"freeBytes\":" + std::to_string(free) +
                     ",\"heldBytes\":" + std::to_string(held_) +
                     ",\"reservedBytes\":" + std::to_string(pool(cudaMemPoolAttrReservedMemCurrent)) + ",\"blocks\":[";
  int shown = 0;
  for (auto it = blocks_.rbegin(); it != blocks_.rend() && shown < 32; ++it, shown++) {
    text += (shown ? "," : "") + std::string("[") + std::to_string(it->first) + "," + std::to_string(it->second) + "]";
  }
  return text + "]}";
}

}  // namespace ns::cuda

// What the files of the runtime share.
#pragma once
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "cuda/emulation/api.h"
#include "cuda/emulation/control.h"

struct CUstream_st {
  bool capturing = false;
  bool invalidated = false;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::vector<std::function<cudaError_t()>> recorded;
};
struct CUevent_st {
  bool captured = false;
  bool recorded = false;
  double at = 0;  // seconds
};
struct CUgraph_st {
  std::vector<std::function<cudaError_t()>> nodes;
};
struct CUgraphExec_st {
  std::vector<std::function<cudaError_t()>> nodes;
};

namespace ns::emulation {

struct State {
  std::recursive_mutex lock;
  Faults faults;
  uint64_t limit = 0, used = 0, launches = 0;
  int arch = 90;                               // compute capability it claims
  std::map<uintptr_t, size_t> device, pinned;  // begin, bytes
  std::map<const void*, int> dynamicShared;    // kernels that opted in
  cudaError_t sticky = cudaSuccess;
  std::string failure;
  int capturing = 0;  // streams being captured that forbid unsafe calls
  CUstream_st legacy;
};
State& state();

constexpr int kSms = 132;
constexpr size_t kSharedOptIn = 227 * 1024;
constexpr size_t kSharedDefault = 48 * 1024;
constexpr size_t kSharedStatic = 8 * 1024;  // a kernel's own share of it is not known here: the most that any has is taken away

// Remembers the error for cudaGetLastError.
cudaError_t tell(cudaError_t error);
// The error every call gets first: no device, old driver, or one that stays.
cudaError_t standing();
CUstream_st& streamOf(cudaStream_t stream);
// An error where a capture is under way that the call may not run in; the capture is then lost.
cudaError_t unsafe();
cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work);
void stick(cudaError_t error, const std::string& why);

}  // namespace ns::emulation

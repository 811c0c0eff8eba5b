// The runtime's side of the emulation: memory, capture and replay, limits, injected faults.
#include <cstring>
#include <thread>

#include "cuda/test/emulation_check.h"

namespace {

using ns::emulation::Faults;

__global__ void add(float* x, float v) { x[blockIdx.x * blockDim.x + threadIdx.x] += v; }
__global__ void nothing() {}

void memory() {
  auto x = device<float>(64);
  float host[64] = {};
  check(x[0] != x[0] && x[63] != x[63], "new memory is NaN");
  check(cudaMemcpy(x, host, 256, cudaMemcpyHostToDevice) == cudaSuccess && x[63] == 0, "upload");
  check(cudaMemcpy(x, host, 260, cudaMemcpyHostToDevice) == cudaErrorInvalidValue, "a copy behind the end");
  check(cudaMemcpy(host, host + 1, 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue, "a copy to host memory called the device's");
  check(cudaMemset(x, 0, 257) == cudaErrorInvalidValue && cudaMemset(x, 0, 256) == cudaSuccess, "memset");
  check(cudaFree(x + 1) == cudaErrorInvalidValue && cudaFree(x) == cudaSuccess && cudaFree(x) == cudaErrorInvalidValue, "free");
  check(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess, "the last error is told once");
  ns::emulation::setMemoryLimit(1000);
  float* y = nullptr;
  check(cudaMalloc(&y, 1001) == cudaErrorMemoryAllocation && cudaMalloc(&y, 1000) == cudaSuccess, "limit of memory");
  size_t left = 1, total = 0;
  check(cudaMemGetInfo(&left, &total) == cudaSuccess && left == 0 && total == 1000, "memory info");
  cudaFree(y);
  ns::emulation::setMemoryLimit(0);
  cudaGetLastError();
}

void shapes() {
  check(launch(context(), nothing, {dim3(1), dim3(1025)}).code == NS_INTERNAL, "a block of 1025 threads");
  check(launch(context(), nothing, {dim3(1, 65536), dim3(32)}).code == NS_INTERNAL, "a grid of 65536 rows");
  check(launch(context(), nothing, {dim3(0), dim3(32)}).ok(), "an empty grid");
  check(launch(context(), nothing, {dim3(1), dim3(32), 227 * 1024}).ok(), "all shared memory, with the opt-in");
  check(!launch(context(), nothing, {dim3(1), dim3(32), 228 * 1024}).ok(), "more than all shared memory");
  cudaLaunchConfig_t config{};
  config.gridDim = config.blockDim = dim3(1);
  config.dynamicSmemBytes = 41 * 1024;
  check(cudaLaunchKernelEx(&config, add, static_cast<float*>(nullptr), 1.0f) == cudaErrorInvalidValue,
        "41 KB without the opt-in, where static shared memory may take the rest");
  check(launch(context(), nothing, {dim3(1), dim3(32), 60 * 1024}).ok(), "less than before");
  config.dynamicSmemBytes = 227 * 1024;
  check(cudaLaunchKernelEx(&config, nothing) == cudaSuccess, "takes the opt-in from no other thread");
  cudaGetLastError();
}

void captures() {
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  auto x = device<float>(64), y = device<float>(64);
  float host[64];
  cudaMemset(x, 0, 256);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
  launch(context(stream), add, {dim3(2), dim3(32)}, x, 2.0f);
  cudaMemcpyAsync(y, x, 256, cudaMemcpyDeviceToDevice, stream);
  cudaMemsetAsync(y, 0, 4, stream);
  cudaStreamCaptureStatus status{};
  check(cudaStreamIsCapturing(stream, &status) == cudaSuccess && status == cudaStreamCaptureStatusActive, "is capturing");
  check(cudaStreamEndCapture(stream, &graph) == cudaSuccess && x[5] == 0, "a capture runs nothing");
  size_t nodes = 0;
  check(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess && nodes == 3, "three nodes");
  check(cudaGraphInstantiate(&exec, graph) == cudaSuccess, "instantiate");
  cudaGraphDestroy(graph);
  cudaGraphLaunch(exec, stream);
  cudaGraphLaunch(exec, stream);
  check(x[5] == 4 && y[5] == 4 && y[0] == 0, "replay");
  cudaGraphExecDestroy(exec);

  const auto spoiled = [&](const char* what, cudaError_t want, auto call) {
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    check(call() == want, what);
    check(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated && !graph, what, "ends the capture");
    cudaGetLastError();
  };
  float* more = nullptr;
  spoiled("waiting while capturing", cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(stream); });
  spoiled("cudaMalloc while capturing", cudaErrorStreamCaptureUnsupported, [&] { return cudaMalloc(&more, 16); });
  spoiled("pageable memory while capturing", cudaErrorStreamCaptureUnsupported,
          [&] { return cudaMemcpyAsync(x, host, 256, cudaMemcpyHostToDevice, stream); });
  spoiled("a waiting copy while capturing", cudaErrorStreamCaptureImplicit, [&] { return cudaMemcpy(x, y, 4, cudaMemcpyDeviceToDevice); });
  cudaFree(x), cudaFree(y);
  cudaStreamDestroy(stream);
}

void events() {
  cudaEvent_t a = nullptr, b = nullptr;
  cudaEventCreate(&a), cudaEventCreate(&b);
  cudaEventRecord(a), cudaEventRecord(b);
  float ms = -1;
  check(cudaEventElapsedTime(&ms, a, b) == cudaSuccess && ms >= 0, "time between events");
  std::thread other([&] { check(cudaEventSynchronize(b) == cudaSuccess, "an event from another thread"); });
  other.join();
  cudaEventDestroy(a), cudaEventDestroy(b);
}

void faults() {
  Faults f;
  f.mallocAt = 2;
  ns::emulation::setFaults(f);
  float *x = device<float>(4), *y = nullptr;
  check(x && cudaMalloc(&y, 16) == cudaErrorMemoryAllocation && cudaMalloc(&y, 16) == cudaSuccess, "the second malloc fails");
  cudaGetLastError();
  for (const bool late : {false, true}) {
    f = Faults();
    f.launchAt = 2;
    f.late = late;
    ns::emulation::setFaults(f);
    const Shape one{dim3(1), dim3(4)};
    check(launch(context(), add, one, x, 1.0f).ok(), "the first launch");
    check(launch(context(), add, one, x, 1.0f).code == (late ? NS_OK : NS_LOST), "the second launch fails", late ? "later" : "");
    check(cudaDeviceSynchronize() == cudaErrorIllegalAddress && cudaMalloc(&y, 16) == cudaErrorIllegalAddress, "and its error stays");
    ns::emulation::forgetErrors();
  }
  int n = 1;
  f = Faults();
  f.noDevice = true;
  ns::emulation::setFaults(f);
  check(cudaGetDeviceCount(&n) == cudaErrorNoDevice && n == 0, "no device");
  f = Faults();
  f.oldDriver = true;
  ns::emulation::setFaults(f);
  check(cudaGetDeviceCount(&n) == cudaErrorInsufficientDriver, "old driver");
  ns::emulation::setFaults(Faults());
  ns::emulation::forgetErrors();
  check(cudaGetDeviceCount(&n) == cudaSuccess && n == 1, "one device");
  cudaFree(x);
}

void device_() {
  cudaDeviceProp p;
  int value = 0;
  check(cudaGetDeviceProperties(&p, 0) == cudaSuccess && p.major == 9 && p.multiProcessorCount == 132, "properties");
  check(!strcmp(p.name, "emulated on the host") && cudaSetDevice(1) == cudaErrorInvalidDevice, "one device, by its name");
  check(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0) == cudaSuccess && value == 227 * 1024, "shared memory");
  cudaGetLastError();
}

}  // namespace

int main() {
  device_();
  memory();
  shapes();
  captures();
  events();
  faults();
  return ns::test::finish();
}

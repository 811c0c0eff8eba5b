#include <cstdlib>

#include "cuda/common/device.h"

namespace ns::cuda {

namespace {

constexpr int kOldestArch = 80;  // kernels use cp.async and the matrix instructions of sm_80

__global__ void present() {}

Status usable(int index) {
  int driver = 0, runtime = 0, count = 0, major = 0, minor = 0;
  cudaError_t e = cudaDriverGetVersion(&driver);
  if (e != cudaSuccess || driver == 0) return failure(NS_UNSUPPORTED, "no NVIDIA driver is loaded");
  e = cudaRuntimeGetVersion(&runtime);
  if (e == cudaSuccess) e = cudaGetDeviceCount(&count);
  if (e == cudaErrorInsufficientDriver || (e == cudaSuccess && driver / 1000 < runtime / 1000)) {
    return failure(NS_UNSUPPORTED, "the NVIDIA driver is too old: it does CUDA %s, this plug-in needs %s", versionText(driver).c_str(),
                   versionText(runtime).c_str());
  }
  if (e == cudaErrorNoDevice || (e == cudaSuccess && count == 0)) return failure(NS_UNSUPPORTED, "the driver finds no GPU");
  if (e != cudaSuccess) return failure(NS_UNSUPPORTED, "CUDA does not start: %s (%s)", cudaGetErrorString(e), cudaGetErrorName(e));
  if (index >= count) return failure(NS_UNSUPPORTED, "there is no GPU %d: the driver finds %d", index, count);
  e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index);
  if (e != cudaSuccess) return failure(NS_UNSUPPORTED, "GPU %d does not answer: %s", index, cudaGetErrorString(e));
  if (major * 10 + minor < kOldestArch) {
    return failure(NS_UNSUPPORTED, "GPU %d has compute capability %d.%d, the kernels need %d.%d", index, major, minor, kOldestArch / 10,
                   kOldestArch % 10);
  }
  return Status();
}

}  // namespace

std::string versionText(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

Status probeDevices() {
  const Status first = usable(0);
  int count = 0;
  Status status = first;
  if (!first.ok() && cudaGetDeviceCount(&count) == cudaSuccess) {
    for (int i = 1; i < count && !status.ok(); i++) status = usable(i);
  }
  cudaGetLastError();
  return status.ok() ? status : first;
}

std::unique_ptr<Device> Device::open(int index, Status& status) {
  status = usable(index);
  if (!status.ok()) return nullptr;
  std::unique_ptr<Device> device(new Device(index));
  status = device->start();
  if (!status.ok()) return nullptr;
  return device;
}

Status Device::start() {
  Status s = enter();
  if (s.ok()) s = note(cudaGetDeviceProperties(&properties_, index_), "cudaGetDeviceProperties");
  if (!s.ok()) return s;
  cudaFuncAttributes attributes{};
  const cudaError_t e = cudaFuncGetAttributes(&attributes, present);
  if (e == cudaErrorNoKernelImageForDevice || e == cudaErrorInvalidDeviceFunction || e == cudaErrorUnsupportedPtxVersion) {
    cudaGetLastError();
    return failure(NS_UNSUPPORTED, "this plug-in has no kernels for %s (compute capability %d.%d): build it on this machine",
                   properties_.name, properties_.major, properties_.minor);
  }
  s = note(e, "kernel image");
  if (s.ok()) s = note(cudaStreamCreateWithFlags(&compute, cudaStreamNonBlocking), "compute stream");
  if (s.ok()) s = note(cudaStreamCreateWithFlags(&copy, cudaStreamNonBlocking), "copy stream");
  return s;
}

Device::~Device() {
  if (copy) cudaStreamDestroy(copy);
  if (compute) cudaStreamDestroy(compute);
  cudaGetLastError();
}

Status Device::note(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return Status();
  return judge(check(e, what));
}

Status Device::judge(Status status) {
  if (status.ok()) return status;
  cudaGetLastError();  // told here: the next launch must not find it again
  if (!compute && status.code == NS_LOST)
    status.code = NS_UNSUPPORTED;  // not opened yet: another process has it for itself, or it is broken
  if (gone_) return lost();
  if (status.code == NS_INTERNAL && broken()) status.code = NS_LOST;
  if (status.code == NS_LOST) end(status);
  return status;
}

// Errors without a type of their own end the context as well, and then a query fails too.
bool Device::broken() const {
  if (capturing || !compute) return false;
  const cudaError_t e = cudaStreamQuery(compute);
  return e != cudaSuccess && e != cudaErrorNotReady && e != cudaErrorStreamCaptureUnsupported;
}

void Device::end(const Status& why) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (gone_) return;
  why_ = why;
  gone_ = true;
}

Status Device::lost() const {
  if (!gone_) return Status();
  std::lock_guard<std::mutex> lock(mutex_);
  return why_;
}

}  // namespace ns::cuda

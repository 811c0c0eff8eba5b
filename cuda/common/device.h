// One GPU: its streams and limits, and the error that ended it.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "cuda/common/error.h"

namespace ns::cuda {

class Device {
 public:
  // Null and a typed reason where the device cannot be used.
  static std::unique_ptr<Device> open(int index, Status& status);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Gives an error of CUDA its type. One that ended the device is kept: see lost().
  Status note(cudaError_t e, const char* what);
  // The same for what an op has answered.
  Status judge(Status status);
  // The error that ended the device, or ok.
  Status lost() const;
  // CUDA keeps a current device per host thread.
  Status enter() { return note(cudaSetDevice(index_), "cudaSetDevice"); }

  int index() const { return index_; }
  const cudaDeviceProp& properties() const { return properties_; }
  int arch() const { return properties_.major * 10 + properties_.minor; }
  cudaStream_t compute = nullptr;
  cudaStream_t copy = nullptr;         // host to device
  std::atomic<bool> capturing{false};  // written by the worker thread

 private:
  explicit Device(int index) : index_(index) {}
  Status start();
  void end(const Status& why);
  bool broken() const;

  const int index_;
  cudaDeviceProp properties_{};
  std::atomic<bool> gone_{false};
  mutable std::mutex mutex_;  // guards why_
  Status why_;
};

// Whether a device can be used, as far as can be told without opening it; otherwise what is wrong with the first.
Status probeDevices();

std::string versionText(int version);  // 13000: "13.0"

}  // namespace ns::cuda

// Knobs for tests: faults to inject, the memory of the device, what went wrong.
#pragma once
#include <cstdint>
#include <string>

#include "cuda/emulation/api_types.h"
#include "cuda/emulation/scheduler.h"

namespace ns::emulation {

// Also from the environment, read once: NEXTSCALE_EMULATION_FAULT=malloc:3,launch:5,device:none,driver:old,gpu:old,image:none,late and
// NEXTSCALE_EMULATION_MEMORY=<bytes>.
struct Faults {
  int64_t mallocAt = 0;  // the n-th from now fails with out of memory; 0: none
  int64_t launchAt = 0;  // the n-th from now fails with launchError, which stays
  cudaError_t launchError = cudaErrorIllegalAddress;
  bool noDevice = false;
  bool oldDriver = false;
  bool oldGpu = false;   // of compute capability 7.5
  bool noImage = false;  // no kernel was compiled for it
  bool pinned = false;   // asynchronous copies from and to pageable memory fail, which on a device read or write it at some later time
  bool busy = false;     // another process has the device for itself
  bool late = false;     // a launch answers success, later calls tell of its failure, as on a device
};
void setFaults(const Faults& faults);
void setMemoryLimit(uint64_t bytes);
// Forgets a sticky error, as a new process would.
void forgetErrors();
std::string lastFailure();
uint64_t usedMemory();
uint64_t launchCount();

}  // namespace ns::emulation

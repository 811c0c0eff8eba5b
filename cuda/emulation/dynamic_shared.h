// The dynamic shared memory of the block that runs, between two guards. What kernels ask of it is in scheduler.h.
#pragma once
#include <cstddef>
#include <string>

namespace ns::emulation {

void resizeDynamicShared(size_t bytes);
void fillDynamicShared();
// What was written into the guards, in words; empty: nothing.
std::string writtenOutside();

}  // namespace ns::emulation

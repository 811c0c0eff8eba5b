// The __shared__ variables of the kernels: the uninitialized thread-local memory of this module.
#pragma once
#include <cstddef>

namespace ns::emulation {

void fillStaticShared();
bool inStaticShared(const void* p, size_t bytes);

}  // namespace ns::emulation

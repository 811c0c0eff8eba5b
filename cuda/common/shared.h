// Dynamic shared memory, 128-byte aligned: NS_SHARED(float, tile) declares float* tile. One per kernel.
#pragma once
#ifdef NS_EMULATED
#define NS_SHARED(type, name) type* name = static_cast<type*>(::ns::emulation::dynamicShared())
#else
#define NS_SHARED(type, name)                               \
  extern __shared__ __align__(128) unsigned char ns_dyn_[]; \
  type* name = reinterpret_cast<type*>(ns_dyn_)
#endif

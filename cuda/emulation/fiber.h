// A fiber: a stack of its own and a place to go on. Switching saves the registers that a call preserves, nothing else.
#pragma once
#include <cstddef>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace ns::emulation {

struct Fiber {
  void* sp = nullptr;
  void* bottom = nullptr;  // lowest address of the stack
  size_t size = 0;
  void* fake = nullptr;  // AddressSanitizer's
#if !defined(__x86_64__)
  ucontext_t context;
#endif
};

// `entry` never returns. False: no memory.
bool makeFiber(Fiber& fiber, size_t size, int index);
void prepareFiber(Fiber& fiber, void (*entry)(), int index);
void dropFiber(Fiber& fiber);
void switchFiber(Fiber& from, Fiber& to);
// First thing in an entry.
void enteredFiber();

}  // namespace ns::emulation

#include "cuda/emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace ns::emulation {

namespace {

#if defined(__SANITIZE_ADDRESS__)
Fiber* previous = nullptr;
#endif

size_t pageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

#if defined(__x86_64__)
// The jump instead of a return keeps the processor's return stack from guessing wrong.
extern "C" __attribute__((visibility("hidden"))) void ns_emulation_switch(void** save, void* to);
asm(R"(
.text
.globl ns_emulation_switch
.hidden ns_emulation_switch
.type ns_emulation_switch, @function
ns_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size ns_emulation_switch, .-ns_emulation_switch
)");
#endif

// A page without rights below the stack turns an overflow into a fault at its place.
bool makeFiber(Fiber& fiber, size_t size, int) {
  const size_t page = pageSize();
  void* p = mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  mprotect(p, page, PROT_NONE);
  fiber.bottom = static_cast<char*>(p) + page;
  fiber.size = size;
  return true;
}

// Stacks begin at different offsets of their page: else the tops of all of them share a few cache sets.
void prepareFiber(Fiber& fiber, void (*entry)(), int index) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.bottom, fiber.size);
  fiber.fake = nullptr;
#endif
#if defined(__x86_64__)
  const uintptr_t colour = static_cast<uintptr_t>(index % 16) * 448;
  auto* top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(fiber.bottom) + fiber.size - colour) & ~uintptr_t{63});
  *--top = nullptr;  // where a return address would be: the entry never returns
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  fiber.sp = top;
#else
  (void)index;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.bottom;
  fiber.context.uc_stack.ss_size = fiber.size;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#endif
}

void dropFiber(Fiber& fiber) {
  if (fiber.bottom) munmap(static_cast<char*>(fiber.bottom) - pageSize(), fiber.size + pageSize());
  fiber = Fiber();
}

void enteredFiber() {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &previous->size);
  previous->bottom = const_cast<void*>(bottom);
#endif
}

void switchFiber(Fiber& from, Fiber& to) {
#if defined(__SANITIZE_ADDRESS__)
  previous = &from;
  __sanitizer_start_switch_fiber(&from.fake, to.bottom, to.size);
#endif
#if defined(__x86_64__)
  ns_emulation_switch(&from.sp, to.sp);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  __sanitizer_finish_switch_fiber(from.fake, &bottom, &previous->size);
  previous->bottom = const_cast<void*>(bottom);
#endif
}

}  // namespace ns::emulation

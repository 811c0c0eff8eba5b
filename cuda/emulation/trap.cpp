#include "cuda/emulation/trap.h"

#include <pthread.h>
#include <ucontext.h>

#include <cstdint>

#include "cuda/emulation/scheduler.h"

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define NS_TRAP 1
#endif

namespace ns::emulation {

#ifdef NS_TRAP
namespace {

const int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE};
alignas(16) char stack[32 * 1024];
pthread_t runner;
int signal_ = 0;
void* address = nullptr;

[[noreturn]] void faulted() {
  if (signal_ == SIGFPE) fail("an integer division by zero");
  fail("an access to address %p, which is not there", address);
}

// Goes on in faulted(), at the top of the thread's own stack: what lies on it is given up.
void onSignal(int number, siginfo_t* info, void* state) {
  if (!now || !now->fiber || !pthread_equal(runner, pthread_self())) {
    signal(number, SIG_DFL);  // not a kernel's: it strikes again when this returns
    return;
  }
  signal_ = number;
  address = info->si_addr;
  auto& registers = static_cast<ucontext_t*>(state)->uc_mcontext.gregs;
  const auto top = reinterpret_cast<uintptr_t>(now->fiber->bottom) + now->fiber->size;
  registers[REG_RSP] = static_cast<greg_t>((top & ~uintptr_t{15}) - 8);
  registers[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(&faulted));
}

}  // namespace

Trap::Trap() {
  runner = pthread_self();
  stack_t mine{};
  mine.ss_sp = stack;
  mine.ss_size = sizeof(stack);
  sigaltstack(&mine, &stack_);
  struct sigaction action {};
  action.sa_sigaction = onSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int i = 0; i < kCount; i++) sigaction(kSignals[i], &action, &before_[i]);
}

Trap::~Trap() {
  for (int i = 0; i < kCount; i++) sigaction(kSignals[i], &before_[i], nullptr);
  sigaltstack(&stack_, nullptr);
}
#else
Trap::Trap() = default;
Trap::~Trap() = default;
#endif

}  // namespace ns::emulation

// While a grid runs, a fault of a GPU thread (a wild address, too deep a stack, a division by zero) ends the kernel, not the process.
#pragma once
#include <csignal>

namespace ns::emulation {

class Trap {
 public:
  Trap();
  ~Trap();
  Trap(const Trap&) = delete;
  Trap& operator=(const Trap&) = delete;

 private:
  static constexpr int kCount = 3;
  struct sigaction before_[kCount];
  stack_t stack_;
};

}  // namespace ns::emulation

// What the tests of the emulation share.
#pragma once
#include <string>

#include "cuda/common/launch.h"
#include "cuda/common/ptx.h"
#include "cuda/common/reduce.h"
#include "cuda/common/shared.h"
#include "cuda/emulation/control.h"
#include "native/test/check.h"

using namespace ns;
using namespace ns::cuda;
using ns::test::check;

inline ns::emulation::Order& turns() {
  static auto order = ns::emulation::Order::ascending;
  return order;
}

inline const Context& context(cudaStream_t stream = nullptr) {
  struct NoScratch : Scratch {
    void* bytes(int, size_t) override { return nullptr; }
  };
  static NoScratch memory;
  static Libraries libraries;
  static Context ctx{nullptr, nullptr, 0, 132, 90, 227 * 1024, false, false, memory, libraries};
  ctx.stream = stream;
  return ctx;
}

template <class T>
T* device(int n) {
  T* p = nullptr;
  cudaMalloc(&p, static_cast<size_t>(n) * sizeof(T));
  return p;
}

template <class F>
void inEveryOrder(F f) {
  using ns::emulation::Order;
  for (const Order order : {Order::ascending, Order::descending, Order::shuffled}) {
    turns() = order;
    ns::emulation::setOrder(order, 7);
    f();
  }
  ns::emulation::setOrder(Order::ascending);
}

// The launch fails for good, says why, and the next kernel of a new process runs.
template <class F>
void refused(const char* what, const char* why, F start) {
  const Status s = start();
  const std::string message = ns::emulation::lastFailure();
  check(s.code == NS_LOST && message.find(why) != std::string::npos, what, std::string(s.message) + " | " + message);
  check(cudaDeviceSynchronize() == cudaErrorLaunchFailure, what, "the error stays");
  ns::emulation::forgetErrors();
}

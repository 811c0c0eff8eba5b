// What a kernel sees: its place in the grid, barriers, exchanges within a warp, atomics.
#pragma once
#include <cstring>
#include <type_traits>

#include "cuda/emulation/scheduler.h"

// The one running thread's; the scheduler sets them at every switch.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace ns::emulation {

struct Exchange {
  uint64_t in;
  uint64_t out;
  int from;  // lane
};
void shuffle(Wait kind, unsigned mask, Exchange& e);

struct Vote {
  uint64_t in;
  unsigned out;
};
void vote(Wait kind, unsigned mask, Vote& v);

enum class Reduction { add, min, max, bitAnd, bitOr, bitXor };
struct Reduce {
  unsigned in, out;
  Reduction how;
  bool isSigned;
};
unsigned reduceSync(unsigned mask, unsigned v, Reduction how, bool isSigned);

template <class T>
T shuffled(Wait kind, unsigned mask, T v, int from) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a shuffle moves at most 8 bytes");
  Exchange e{0, 0, from};
  memcpy(&e.in, &v, sizeof(T));
  shuffle(kind, mask, e);
  memcpy(&v, &e.out, sizeof(T));
  return v;
}

template <class To, class From>
To bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To r;
  memcpy(&r, &v, sizeof(r));
  return r;
}

}  // namespace ns::emulation

inline void __syncthreads() { ns::emulation::blockBarrier(ns::emulation::Wait::syncthreads, 0); }
inline int __syncthreads_or(int p) { return ns::emulation::blockBarrier(ns::emulation::Wait::syncthreadsOr, p); }
inline int __syncthreads_and(int p) { return ns::emulation::blockBarrier(ns::emulation::Wait::syncthreadsAnd, p); }
inline int __syncthreads_count(int p) { return ns::emulation::blockBarrier(ns::emulation::Wait::syncthreadsCount, p); }
// Lanes that the block does not have are not waited for.
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  ns::emulation::warpCollective(ns::emulation::Wait::syncwarp, mask & ns::emulation::now->warp->exists, nullptr, nullptr);
}

template <class T>
inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
  const int self = ns::emulation::now->lane, base = self & ~(width - 1);
  return ns::emulation::shuffled(ns::emulation::Wait::shuffle, mask, v, base + (lane & (width - 1)));
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int self = ns::emulation::now->lane, base = self & ~(width - 1), from = self - static_cast<int>(delta);
  return ns::emulation::shuffled(ns::emulation::Wait::shuffleUp, mask, v, from < base ? self : from);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
  const int self = ns::emulation::now->lane, end = (self & ~(width - 1)) + width, from = self + static_cast<int>(delta);
  return ns::emulation::shuffled(ns::emulation::Wait::shuffleDown, mask, v, from >= end ? self : from);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32) {
  const int self = ns::emulation::now->lane, end = (self & ~(width - 1)) + width, from = self ^ lanes;
  return ns::emulation::shuffled(ns::emulation::Wait::shuffleXor, mask, v, from >= end ? self : from);
}

inline unsigned __ballot_sync(unsigned mask, int p) {
  ns::emulation::Vote v{p != 0, 0};
  ns::emulation::vote(ns::emulation::Wait::ballot, mask, v);
  return v.out;
}
inline int __any_sync(unsigned mask, int p) {
  ns::emulation::Vote v{p != 0, 0};
  ns::emulation::vote(ns::emulation::Wait::any, mask, v);
  return v.out != 0;
}
inline int __all_sync(unsigned mask, int p) {
  ns::emulation::Vote v{p != 0, 0};
  ns::emulation::vote(ns::emulation::Wait::all, mask, v);
  return v.out == mask;
}
template <class T>
inline unsigned __match_any_sync(unsigned mask, T value) {
  ns::emulation::Vote v{0, 0};
  memcpy(&v.in, &value, sizeof(T));
  ns::emulation::vote(ns::emulation::Wait::match, mask, v);
  return v.out;
}
// Any subset that holds the caller is a correct answer; this one makes no promise that a kernel could lean on.
inline unsigned __activemask() { return ns::emulation::now->bit; }

#define NS_REDUCE(name, how)                                                         \
  inline unsigned __reduce_##name##_sync(unsigned mask, unsigned v) {                \
    return ns::emulation::reduceSync(mask, v, ns::emulation::Reduction::how, false); \
  }
#define NS_REDUCE_INT(name, how)                                                                                             \
  inline int __reduce_##name##_sync(unsigned mask, int v) {                                                                  \
    return static_cast<int>(ns::emulation::reduceSync(mask, static_cast<unsigned>(v), ns::emulation::Reduction::how, true)); \
  }
NS_REDUCE(add, add)
NS_REDUCE(min, min)
NS_REDUCE(max, max)
NS_REDUCE(and, bitAnd)
NS_REDUCE(or, bitOr)
NS_REDUCE(xor, bitXor)
NS_REDUCE_INT(add, add)
NS_REDUCE_INT(min, min)
NS_REDUCE_INT(max, max)
#undef NS_REDUCE
#undef NS_REDUCE_INT

// One thread runs at a time, so a plain read and write is atomic. As on the device only the types that it has.
namespace ns::emulation {
template <class T>
struct Same {
  using type = T;
};
template <class T, class F>
T exchange(T* at, F f) {
  if (reinterpret_cast<uintptr_t>(at) % sizeof(T) != 0) fail("an atomic operation on an address not aligned to its size");
  const T old = *at;
  *at = f(old);
  return old;
}
}  // namespace ns::emulation

#define NS_ATOMIC(name, expression)                                                        \
  template <class T>                                                                       \
  inline T name(T* at, typename ns::emulation::Same<T>::type v) {                          \
    return ns::emulation::exchange(at, [&](T old) { return static_cast<T>(expression); }); \
  }
NS_ATOMIC(atomicAdd, old + v)
NS_ATOMIC(atomicSub, old - v)
NS_ATOMIC(atomicMax, old < v ? v : old)
NS_ATOMIC(atomicMin, v < old ? v : old)
NS_ATOMIC(atomicExch, ((void)old, v))
NS_ATOMIC(atomicOr, old | v)
NS_ATOMIC(atomicAnd, old& v)
NS_ATOMIC(atomicXor, old ^ v)
NS_ATOMIC(atomicInc, old >= v ? 0 : old + 1)
NS_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1)
#undef NS_ATOMIC
template <class T>
inline T atomicCAS(T* at, typename ns::emulation::Same<T>::type expected, typename ns::emulation::Same<T>::type v) {
  return ns::emulation::exchange(at, [&](T old) { return old == expected ? v : old; });
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {}
inline void __trap() { ns::emulation::fail("__trap"); }
inline long long clock64() { return 0; }
#define __builtin_assume(x) ((void)0)

template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
inline void __stcs(T* p, T v) {
  *p = v;
}
template <class T>
inline void __stcg(T* p, T v) {
  *p = v;
}

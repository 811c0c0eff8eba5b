// What every CPU kernel gets: the thread pool and scratch memory that outlives one call.
#pragma once
#include <cstddef>
#include <cstdint>

#include "native/abi/backend.h"
#include "native/abi/dtype.h"
#include "native/abi/gen/ops.h"
#include "native/abi/status.h"
#include "native/cpu/pool.h"

namespace ns::cpu {

// Grow-only 64-byte aligned buffers, one set per worker thread of the pool; valid until the next call of the same slot.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();
  // slot 0..3; throws std::bad_alloc, which the backend turns into NS_OUT_OF_MEMORY.
  void* bytes(int slot, size_t n);
  float* floats(int slot, size_t n) { return static_cast<float*>(bytes(slot, n * sizeof(float))); }
  void shrink(size_t most);  // frees buffers of more bytes
  void drop();               // frees everything; called when memory is short

 private:
  void* data_[4] = {};
  size_t size_[4] = {};
};

struct Context {
  Pool& pool;
  Scratch& shared;     // for the calling thread, before or after a parallel region
  Scratch* perThread;  // [pool.threads()], index = the thread id that parallelFor hands out
};

inline const NsTensor* input(const NsCall& c, int i) { return i < c.n_in && c.in[i].data ? &c.in[i] : nullptr; }
template <class T>
inline const T* in(const NsCall& c, int i) {
  return static_cast<const T*>(c.in[i].data);
}
template <class T>
inline T* mut(const NsCall& c, int i) {
  return static_cast<T*>(c.in[i].data);
}
template <class T>
inline T* out(const NsCall& c, int i) {
  return static_cast<T*>(c.out[i].data);
}
inline DType dtype(const NsTensor& t) { return static_cast<DType>(t.dtype); }
inline int64_t count(const NsTensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.ndim; i++) n *= t.dims[i];
  return n;
}

// Whether an output of rows of `channels` floats is better written past the caches: whole lines of it, and more than would be found there.
inline bool streams(const float* y, int64_t floats, int64_t channels) {
  constexpr int64_t kMost = int64_t{1} << 21;
  return floats >= kMost && channels % 16 == 0 && reinterpret_cast<uintptr_t>(y) % 64 == 0;
}

// One function per op, each in the file of its family.
namespace kernels {
#define NS_DECLARE(name) Status name(Context& ctx, const NsCall& call, const op::name::Params& p);
NS_FOR_EACH_OP(NS_DECLARE)
#undef NS_DECLARE
}  // namespace kernels

}  // namespace ns::cpu

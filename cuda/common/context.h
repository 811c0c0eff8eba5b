// What every op gets on the device, and how an op reaches its tensors.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "native/abi/backend.h"
#include "native/abi/dtype.h"
#include "native/abi/gen/ops.h"
#include "native/abi/status.h"

namespace ns::cuda {

// The first thing a kernel found wrong with its data; told at the next synchronization. `code` is 0 or an NsCode.
struct DeviceError {
  int32_t code;
  int32_t op;
  int64_t at;  // element, row or token
  int64_t value;
};

// Grow-only device memory per slot, valid until the next op takes the slot: the stream orders its use.
class Scratch {
 public:
  virtual ~Scratch() = default;
  // slot 0..7; throws std::bad_alloc, which the backend turns into NS_OUT_OF_MEMORY.
  virtual void* bytes(int slot, size_t n) = 0;
};

// State that a library keeps per device (handles, chosen algorithms); made at first use, released with the device.
struct Libraries {
  std::shared_ptr<void> blas;
  std::shared_ptr<void> dnn;
  bool noBlas = false, noDnn = false;  // own kernels only
};

// Counters of Context::tickets.
constexpr int64_t kTickets = 4096;

struct Context {
  cudaStream_t stream;
  DeviceError* error;  // in device memory
  int32_t op;          // id of the running call
  int sms;
  int arch;               // 90 for compute capability 9.0
  size_t sharedPerBlock;  // bytes, with the opt-in
  bool tf32;              // f32 products may round their operands to tf32
  bool capturing;         // nothing may synchronize, allocate or copy from pageable memory
  Scratch& memory;
  Libraries& libraries;
  // Device memory, zero between kernels: a kernel that counts its blocks there leaves zeros behind. Null: there are none.
  unsigned* tickets = nullptr;

  template <class T>
  T* scratch(int slot, size_t n) const {
    return static_cast<T*>(memory.bytes(slot, n * sizeof(T)));
  }
};

inline const NsTensor* input(const NsCall& c, int i) { return i < c.n_in && c.in[i].data ? &c.in[i] : nullptr; }
template <class T>
inline const T* in(const NsCall& c, int i) {
  return i < c.n_in ? static_cast<const T*>(c.in[i].data) : nullptr;
}
template <class T>
inline T* mut(const NsCall& c, int i) {
  return i < c.n_in ? static_cast<T*>(c.in[i].data) : nullptr;
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

// One function per op, each in the file of its family under cuda/ops; it enqueues on ctx.stream and never waits.
namespace ops {
#define NS_DECLARE(name) Status name(const Context& ctx, const NsCall& call, const op::name::Params& p);
NS_FOR_EACH_OP(NS_DECLARE)
#undef NS_DECLARE
}  // namespace ops

}  // namespace ns::cuda

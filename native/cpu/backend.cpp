// The CPU as a backend: memory, the thread pool, and the dispatch of an op id to its kernel.
#include <hwy/targets.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <type_traits>

#include "native/core/registry.h"
#include "native/cpu/context.h"

namespace ns::cpu {

Scratch::~Scratch() { drop(); }

void* Scratch::bytes(int slot, size_t n) {
  if (n <= size_[slot]) return data_[slot];
  std::free(data_[slot]);
  data_[slot] = nullptr;
  size_[slot] = 0;
  const size_t size = (n + 4095) / 4096 * 4096;
  if (size < n || posix_memalign(&data_[slot], 64, size) != 0) {
    data_[slot] = nullptr;
    throw std::bad_alloc();
  }
  size_[slot] = size;
  return data_[slot];
}

void Scratch::drop() {
  for (int i = 0; i < 4; i++) {
    std::free(data_[i]);
    data_[i] = nullptr;
    size_[i] = 0;
  }
}

// Hidden, so that an op without a kernel is an error of the linker and not of the first call.
namespace kernels {
#define NS_STRONG(name) __attribute__((visibility("hidden"))) Status name(Context& ctx, const NsCall& call, const op::name::Params& p);
NS_FOR_EACH_OP(NS_STRONG)
#undef NS_STRONG
}  // namespace kernels

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

struct Device {
  explicit Device(int threads) : pool(threads), perThread(new Scratch[static_cast<size_t>(pool.threads())]) {}
  Pool pool;
  Scratch shared;
  std::unique_ptr<Scratch[]> perThread;
  std::string text;
  void dropScratch() {
    shared.drop();
    for (int i = 0; i < pool.threads(); i++) perThread[static_cast<size_t>(i)].drop();
  }
};

std::string describeDevice(int threads) {
  std::string targets;
  for (int64_t bits = hwy::SupportedTargets(); bits != 0; bits &= bits - 1) {
    targets += std::string(targets.empty() ? "\"" : ",\"") + hwy::TargetName(bits & -bits) + "\"";
  }
  return "{\"name\":\"cpu\",\"threads\":" + std::to_string(threads) + ",\"targets\":[" + targets + "]}";
}

void* create(const NsConfig* config, NsStatus* status) {
  try {
    auto device = std::make_unique<Device>(config->threads);
    device->text = describeDevice(device->pool.threads());
    return device.release();
  } catch (const std::exception& e) {
    *status = failure(NS_OUT_OF_MEMORY, "cannot start the CPU device: %s", e.what());
    return nullptr;
  }
}

void destroy(void* self) { delete static_cast<Device*>(self); }

void* alloc(void*, size_t bytes, NsStatus* status) {
  void* data = nullptr;
  const bool large = bytes >= 2 * kHugePage;
  if (posix_memalign(&data, large ? kHugePage : 64, bytes) != 0) {
    *status = failure(NS_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
    return nullptr;
  }
  if (large) madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

void release(void*, void* data, size_t) { std::free(data); }
void copy(void*, void* dst, const void* src, size_t bytes, NsStatus*) { std::memcpy(dst, src, bytes); }

template <class Params>
using Kernel = Status (*)(Context&, const NsCall&, const Params&);

template <class Params>
Status invoke(Kernel<Params> kernel, Context& ctx, const NsCall& call) {
  Params p{};
  if constexpr (!std::is_empty_v<Params>) std::memcpy(static_cast<void*>(&p), call.params, sizeof(p));
  return kernel(ctx, call, p);
}

Status dispatch(Context& ctx, const NsCall& call) {
  switch (call.op) {
#define NS_CASE(name) \
  case op::name::kId: return invoke<op::name::Params>(&kernels::name, ctx, call);
    NS_FOR_EACH_OP(NS_CASE)
#undef NS_CASE
  }
  return failure(NS_UNSUPPORTED, "op %d is unknown to the CPU backend", call.op);
}

void execute(void* self, const NsCall* call, NsStatus* status) {
  auto* d = static_cast<Device*>(self);
  Context ctx{d->pool, d->shared, d->perThread.get()};
  try {
    *status = dispatch(ctx, *call);
  } catch (const std::bad_alloc&) {
    *status = failure(NS_OUT_OF_MEMORY, "no memory for the scratch space of the op");
  } catch (const std::exception& e) {
    *status = failure(NS_INTERNAL, "%s", e.what());
  }
  if (status->code == NS_OUT_OF_MEMORY) d->dropScratch();
}

void synchronize(void*, NsStatus*) {}
const char* describe(void* self) { return static_cast<Device*>(self)->text.c_str(); }

const NsBackend kBackend = {NS_ABI_VERSION, sizeof(NsBackend), "cpu",       create,  destroy, alloc, release, copy,
                            copy,           execute,           synchronize, describe};

}  // namespace

}  // namespace ns::cpu

namespace ns {
const NsBackend* cpuBackend() { return &cpu::kBackend; }
}  // namespace ns

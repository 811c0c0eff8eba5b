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
#include "native/cpu/widen.h"

namespace ns::cpu {

namespace {

constexpr size_t kPage = size_t{64} << 10;  // of any system this runs on, or a multiple
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMapped = size_t{1} << 20;
constexpr size_t kKeptWide = size_t{16} << 20;  // a larger copy of an activation is not kept for the next call

size_t wholePages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// Large blocks come from mmap, so that releasing them returns the memory to the system whatever the heap looks like.
void* mapPages(size_t bytes) {
  const size_t align = bytes >= kHugePage ? kHugePage : kPage;
  const size_t size = wholePages(bytes), whole = size + align;
  void* base = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  const uintptr_t from = reinterpret_cast<uintptr_t>(base);
  const uintptr_t at = (from + align - 1) / align * align;
  if (at > from) munmap(base, at - from);
  if (at + size < from + whole) munmap(reinterpret_cast<void*>(at + size), from + whole - at - size);
  void* data = reinterpret_cast<void*>(at);
  if (align == kHugePage) madvise(data, size, MADV_HUGEPAGE);
  return data;
}

void* takeBlock(size_t bytes) {
  if (bytes >= kMapped) return mapPages(bytes);
  void* data = nullptr;
  return posix_memalign(&data, 64, bytes) == 0 ? data : nullptr;
}

void giveBlock(void* data, size_t bytes) {
  if (bytes >= kMapped) {
    munmap(data, wholePages(bytes));
  } else {
    std::free(data);
  }
}

}  // namespace

Scratch::~Scratch() { drop(); }

void* Scratch::bytes(int slot, size_t n) {
  if (n <= size_[slot]) return data_[slot];
  if (data_[slot]) giveBlock(data_[slot], size_[slot]);
  size_[slot] = 0;
  const size_t size = (n + 4095) / 4096 * 4096;
  data_[slot] = size < n ? nullptr : takeBlock(size);
  if (!data_[slot]) throw std::bad_alloc();
  size_[slot] = size;
  return data_[slot];
}

void Scratch::shrink(size_t most) {
  for (int i = 0; i < 4; i++) {
    if (size_[i] <= most) continue;
    giveBlock(data_[i], size_[i]);
    data_[i] = nullptr;
    size_[i] = 0;
  }
}

void Scratch::drop() { shrink(0); }

// Hidden, so that an op without a kernel is an error of the linker and not of the first call.
namespace kernels {
#define NS_STRONG(name) __attribute__((visibility("hidden"))) Status name(Context& ctx, const NsCall& call, const op::name::Params& p);
NS_FOR_EACH_OP(NS_STRONG)
#undef NS_STRONG
}  // namespace kernels

namespace {

struct Device {
  explicit Device(int threads) : pool(threads), perThread(new Scratch[static_cast<size_t>(pool.threads())]) {}
  Pool pool;
  Scratch shared;
  Scratch wide;  // f32 copies of 16-bit activations
  std::unique_ptr<Scratch[]> perThread;
  std::string text;
  void dropScratch() {
    shared.drop();
    wide.drop();
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
  void* data = takeBlock(bytes);
  if (!data) *status = failure(NS_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
  return data;
}

void release(void*, void* data, size_t bytes) { giveBlock(data, bytes); }
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
    if (needsWidening(*call)) {
      *status = widened(ctx, d->wide, *call, &dispatch);
      d->wide.shrink(kKeptWide);
    } else {
      *status = dispatch(ctx, *call);
    }
  } catch (const std::bad_alloc&) {
    *status = failure(NS_OUT_OF_MEMORY, "no memory for the scratch space of the op");
  } catch (const std::exception& e) {
    *status = failure(NS_INTERNAL, "%s", e.what());
  }
  if (status->code == NS_OUT_OF_MEMORY) d->dropScratch();
}

void synchronize(void*, NsStatus*) {}
const char* describe(void* self) { return static_cast<Device*>(self)->text.c_str(); }

const NsBackend kBackend = {NS_ABI_VERSION, sizeof(NsBackend), "cpu",   create,  destroy, alloc,   release, copy,    copy,   execute,
                            synchronize,    describe,          nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};

}  // namespace

}  // namespace ns::cpu

namespace ns {
const NsBackend* cpuBackend() { return &cpu::kBackend; }
}  // namespace ns

// A weak function for every op: the linker takes the kernel's where there is one. Those that remain lie in a section of their own, so that
// a test can name them.
#include "cuda/common/context.h"
#include "cuda/fallback.h"

namespace ns::cuda::ops {
#define NS_FALLBACK(name)                                                                                            \
  __attribute__((weak, section("ns_missing"))) Status name(const Context&, const NsCall&, const op::name::Params&) { \
    return failure(NS_UNSUPPORTED, "op %s has no CUDA kernel", #name);                                               \
  }
NS_FOR_EACH_OP(NS_FALLBACK)
#undef NS_FALLBACK
}  // namespace ns::cuda::ops

extern "C" __attribute__((visibility("hidden"))) const char __start_ns_missing[];
extern "C" __attribute__((visibility("hidden"))) const char __stop_ns_missing[];

namespace ns::cuda {

std::vector<std::string> missingOps() {
  std::vector<std::string> names;
  const auto add = [&](const void* at, const char* name) {
    if (at >= __start_ns_missing && at < __stop_ns_missing) names.push_back(name);
  };
#define NS_ADD(name) add(reinterpret_cast<const void*>(&ops::name), #name);
  NS_FOR_EACH_OP(NS_ADD)
#undef NS_ADD
  return names;
}

}  // namespace ns::cuda

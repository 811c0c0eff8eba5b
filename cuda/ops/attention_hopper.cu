// attention by the warpgroup products of sm_90a (cuda/kernels/attention_hopper.cuh). The build compiles this file for sm_90a alone, where
// it targets sm_90 (NS_HOPPER); otherwise the kernel is empty and never launched.
#include <cstdlib>
#include <cstring>

#include "cuda/kernels/attention_hopper.cuh"
#include "cuda/ops/attention_hopper.h"

namespace ns::cuda {
namespace {

template <class T, int kGroups, bool kSplit>
Status launchHopper(const Context& ctx, const att::HopperForward<T>& f) {
  using Layout = att::HopperLayout<kGroups>;
  const int64_t blocks = divUp(f.s.l, Layout::kRows) * f.s.batch * f.s.heads;
  if (blocks > INT32_MAX) {
    return failure(NS_UNSUPPORTED, "[attention] %lld tiles of rows: more than one launch takes", static_cast<long long>(blocks));
  }
  const Shape shape = {dim3(static_cast<unsigned>(blocks)), dim3(Layout::kThreads), Layout::kBytes};
  return launch(ctx, att::attentionHopper<T, kGroups, kSplit>, shape, f);
}

att::Lines linesOf(const att::Rows& r) { return {r.data, r.batch, r.head, static_cast<unsigned>(r.row * 2)}; }

// Whether the fresh rows lie behind the cached ones as one more row does.
bool joined(const att::Rows& cached, const att::Rows& fresh, int pos) {
  return static_cast<const char*>(cached.data) + pos * cached.row * 2 == fresh.data && cached.row == fresh.row &&
         cached.head == fresh.head && cached.batch == fresh.batch;
}

// 128 rows per block where those fill the device (keys and values are then read half as often), else 64.
template <class T>
Status choose(const Context& ctx, const att::Forward<T>& f) {
  att::HopperForward<T> a{};
  static_cast<att::Forward<T>&>(a) = f;
  a.cachedLinesK = linesOf(f.cachedK);
  a.cachedLinesV = linesOf(f.cachedV);
  if (f.s.pos > 0 && !(joined(f.cachedK, f.freshK, f.s.pos) && joined(f.cachedV, f.freshV, f.s.pos))) {
    a.k = linesOf(f.freshK);
    a.v = linesOf(f.freshV);
    return launchHopper<T, 1, true>(ctx, a);
  }
  a.k = f.s.pos > 0 ? a.cachedLinesK : linesOf(f.freshK);
  a.v = f.s.pos > 0 ? a.cachedLinesV : linesOf(f.freshV);
  const int64_t heads = static_cast<int64_t>(f.s.batch) * f.s.heads;
  if (f.s.l > 64 && heads * divUp(f.s.l, 128) >= 2 * ctx.sms) return launchHopper<T, 2, false>(ctx, a);
  return launchHopper<T, 1, false>(ctx, a);
}

}  // namespace

bool hopperWanted(const Context& ctx) {
#if defined(NS_HOPPER) || defined(NS_EMULATED)
  static const bool asked = [] {
    const char* text = getenv("NEXTSCALE_CUDA_HOPPER");
    return text && strcmp(text, "1") == 0;
  }();
  return asked && ctx.arch == 90;
#else
  static_cast<void>(ctx);
  return false;
#endif
}

Status attentionOnHopper(const Context& ctx, const att::Forward<f16>& f) { return choose(ctx, f); }
Status attentionOnHopper(const Context& ctx, const att::Forward<bf16>& f) { return choose(ctx, f); }

}  // namespace ns::cuda

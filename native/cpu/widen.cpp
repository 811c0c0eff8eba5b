// 16-bit activations through the f32 kernels.
// Floor: bound by memory; every 16-bit tensor costs 6 bytes per element on top of what the kernel moves.
// Layout: contiguous copies in the tensors' order, inputs first. Weights, tables and caches are no activations: kernels read them as they
// are. Reference: the op's definition on the values of the 16-bit tensors, rounded once to the dtype of the output.
#include "native/cpu/widen.h"

#include "native/cpu/cast.h"

namespace ns::cpu {

namespace {

constexpr int kMaxWide = 4;  // slots of a Scratch
constexpr int kMaxInputs = 16;
constexpr int64_t kGrain = 16384;

constexpr bool fewEnough() {
  for (const op::Info& info : op::kInfo) {
    int wide = info.activations ? info.outputs : 0;
    for (uint32_t bits = info.activations; bits; bits &= bits - 1) wide++;
    if (wide > kMaxWide || info.inputs > kMaxInputs || (info.activations && info.outputs > 1)) return false;
  }
  return true;
}
static_assert(fewEnough(), "an op has more activations than there are slots");

bool narrow(const NsTensor& t) { return t.data && (dtype(t) == DType::f16 || dtype(t) == DType::bf16); }

void convert(Context& ctx, const NsTensor& from, const NsTensor& to) {
  const DType a = dtype(from), b = dtype(to);
  const int64_t as = static_cast<int64_t>(dtypeSize(a)), bs = static_cast<int64_t>(dtypeSize(b));
  const char* x = static_cast<const char*>(from.data);
  char* y = static_cast<char*>(to.data);
  ctx.pool.parallelFor(count(from), kGrain,
                       [&](int64_t begin, int64_t end, int) { castRow(a, b, x + begin * as, y + begin * bs, end - begin); });
}

NsTensor wideCopy(Scratch& wide, int slot, const NsTensor& t) {
  NsTensor copy = t;
  copy.dtype = static_cast<int32_t>(DType::f32);
  copy.data = wide.floats(slot, static_cast<size_t>(count(t)) + 1);
  return copy;
}

}  // namespace

bool needsWidening(const NsCall& call) {
  const int64_t index = static_cast<int64_t>(call.op) - op::kFirstId;
  if (index < 0 || index >= op::kOpCount) return false;
  const uint32_t activations = op::kInfo[index].activations;
  if (!activations) return false;
  for (int i = 0; i < call.n_in; i++) {
    if ((activations >> i & 1) && narrow(call.in[i])) return true;
  }
  return call.n_out > 0 && narrow(call.out[0]);
}

Status widened(Context& ctx, Scratch& wide, const NsCall& call, Dispatch dispatch) {
  const op::Info& info = op::kInfo[call.op - op::kFirstId];
  if (call.n_in > kMaxInputs || call.n_out > 1) {
    return failure(NS_INVALID, "[%s] %d inputs and %d outputs", info.name, call.n_in, call.n_out);
  }
  NsTensor in[kMaxInputs], out[1];
  int slot = 0;
  for (int i = 0; i < call.n_in; i++) {
    in[i] = call.in[i];
    if (!(info.activations >> i & 1) || !narrow(in[i])) continue;
    in[i] = wideCopy(wide, slot++, call.in[i]);
    convert(ctx, call.in[i], in[i]);
  }
  if (call.n_out) out[0] = narrow(call.out[0]) ? wideCopy(wide, slot, call.out[0]) : call.out[0];
  NsCall inner = call;
  inner.in = in;
  inner.out = out;
  Status status = dispatch(ctx, inner);
  if (!status.ok()) return status;
  for (int i = 0; i < call.n_in; i++) {
    if ((info.mutated >> i & 1) && in[i].data != call.in[i].data) convert(ctx, in[i], call.in[i]);
  }
  if (call.n_out && out[0].data != call.out[0].data) convert(ctx, out[0], call.out[0]);
  return status;
}

}  // namespace ns::cpu

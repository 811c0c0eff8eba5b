// embedding: rows of a table by index.
// Floor: bound by memory, one table row read and one written per index.
// Layout: table [V, C] in f32, f16 or bf16, y [..., C] in f32.
// Reference: torch.nn.functional.embedding. Indices are all checked before the first row is written.
#include "native/cpu/cast.h"
#include "native/cpu/context.h"

namespace ns::cpu::kernels {

Status embedding(Context& ctx, const NsCall& call, const op::embedding::Params&) {
  const NsTensor& table = call.in[0];
  const DType type = dtype(table);
  if (type != DType::f32 && type != DType::f16 && type != DType::bf16) {
    return failure(NS_UNSUPPORTED, "[embedding] table is %s, accepted: f32, f16, bf16", dtypeName(type));
  }
  const int64_t V = table.dims[0], C = table.dims[1], n = count(call.in[1]);
  const int32_t* idx = in<int32_t>(call, 1);
  for (int64_t i = 0; i < n; i++) {
    if (idx[i] >= 0 && idx[i] < V) continue;
    return failure(NS_INDEX, "[embedding] idx[%lld] is %d, the table [%lld,%lld] has rows 0 to %lld", static_cast<long long>(i), idx[i],
                   static_cast<long long>(V), static_cast<long long>(C), static_cast<long long>(V - 1));
  }
  const char* rows = in<char>(call, 0);
  float* y = out<float>(call, 0);
  const int64_t stride = C * static_cast<int64_t>(dtypeSize(type)), grain = 16384 / (C < 1 ? 1 : C) + 1;
  ctx.pool.parallelFor(n, grain, [&](int64_t b, int64_t e, int) {
    for (int64_t i = b; i < e; i++) castRow(type, DType::f32, rows + idx[i] * stride, y + i * C, C);
  });
  return {};
}

}  // namespace ns::cpu::kernels

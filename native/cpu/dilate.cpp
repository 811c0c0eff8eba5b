// dilate: an NHWC map with stride - 1 zeros between its pixels, y[b, h * stride, w * stride] = x[b, h, w].
// Floor: bound by memory, the output written once and the input read once. Layout: NHWC, contiguous; a unit of work is an output row.
// Reference: the input gradient of a strided convolution (Dumoulin and Visin, "A guide to convolution arithmetic", 2016, section 4.6).
#include <algorithm>
#include <cstring>

#include "native/cpu/context.h"

namespace ns::cpu::kernels {

Status dilate(Context& ctx, const NsCall& call, const op::dilate::Params& p) {
  const NsTensor& x = call.in[0];
  if (x.ndim != 4 || p.stride < 1) return failure(NS_INVALID, "[dilate] x has %d dims, needs 4; stride is %d", x.ndim, p.stride);
  const int64_t h = x.dims[1], w = x.dims[2], c = x.dims[3], s = p.stride;
  if (count(x) == 0) return Status();
  const int64_t rows = (h - 1) * s + 1, row = ((w - 1) * s + 1) * c;
  const float* source = in<float>(call, 0);
  float* target = out<float>(call, 0);
  const size_t pixel = static_cast<size_t>(c) * sizeof(float);
  ctx.pool.parallelFor(x.dims[0] * rows, 16384 / row + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      float* y = target + r * row;
      std::fill_n(y, row, 0.0f);
      const int64_t b = r / rows, oy = r % rows;
      if (oy % s != 0) continue;
      const float* line = source + (b * h + oy / s) * w * c;
      for (int64_t i = 0; i < w; i++) std::memcpy(y + i * s * c, line + i * c, pixel);
    }
  });
  return Status();
}

}  // namespace ns::cpu::kernels

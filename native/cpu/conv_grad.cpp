// conv2d_grad_w: dw[o,i,ky,kx] += alpha * sum over pixels of dy[.., o] * up(x)[.. + (ky, kx), i], dbias += alpha * column sums of dy.
// Floor: 2 B Ho Wo k k I O FLOP at the FMA peak. Layout: x, dy NHWC; dw OIHW.
// A panel is 16 channels of the rows of x that a block of output rows sees, with the padding (and upsampling) written out; each tap reads
// it shifted, so x is packed about once, not once per tap. Few input channels: panels of 16 (tap, channel) pairs, gathered per pixel.
// 3x3 with stride 1 and enough channels: winograd_grad.cpp, 2.25 times fewer multiplications.
// Order of summation: gemm_tn.h; blocks are whole output rows.
#include <algorithm>
#include <cstring>

#include "native/cpu/gemm_tn.h"
#include "native/cpu/winograd_grad.h"

namespace ns::cpu {
namespace {

constexpr int64_t kFewInputs = 12;  // up to here panels of one tap would stay mostly empty
constexpr int64_t kMaxTaps = 64 * 64;

struct Images {
  const float* x;
  int64_t h, w, in, outH, outW, kernel, stride, pad, upsample;
  int64_t width;  // positions of a packed row
  int64_t panelFloats;
};

// One packed row of panel p: row iy of the upsampled image, from column -pad on; zero outside.
void packLine(const Images& s, int64_t b, int64_t iy, int64_t p, float* dst) {
  const int64_t lines = s.width, inside = s.w * s.upsample;
  if (iy < 0 || iy >= s.h * s.upsample) {
    std::fill_n(dst, lines * kPanel, 0.0f);
    return;
  }
  const int64_t first = std::min(s.pad, lines), last = std::min(lines, inside + s.pad);
  std::fill_n(dst, first * kPanel, 0.0f);
  if (last < lines) std::fill_n(dst + last * kPanel, (lines - last) * kPanel, 0.0f);
  const float* row = s.x + (b * s.h + iy / s.upsample) * s.w * s.in + p * kPanel;
  const int64_t channels = std::min(kPanel, s.in - p * kPanel);
  if (s.upsample == 1) {
    tnCopyLines(row + (first - s.pad) * s.in, s.in, last - first, channels, dst + first * kPanel);
    return;
  }
  for (int64_t c = first; c < last; c++) {
    const float* from = row + (c - s.pad) / s.upsample * s.in;
    for (int64_t i = 0; i < kPanel; i++) dst[c * kPanel + i] = i < channels ? from[i] : 0.0f;
  }
}

// Output rows are counted over the batch; the rows of x are packed per image.
void packShifted(const void* source, int64_t m0, int64_t rows, int64_t p0, int64_t p1, float* dst, Segments& s) {
  const Images& g = *static_cast<const Images*>(source);
  const int64_t end = (m0 + rows) / g.outW;
  s.count = 0;
  s.length = g.outW;
  int64_t line = 0;
  for (int64_t r = m0 / g.outW; r < end;) {
    const int64_t b = r / g.outH, oy = r % g.outH, part = std::min(g.outH - oy, end - r);
    for (int64_t i = 0; i < part; i++) s.start[s.count++] = (line + i * g.stride) * g.width * kPanel;
    const int64_t lines = (part - 1) * g.stride + g.kernel;
    for (int64_t p = p0; p < p1; p++) {
      float* to = dst + (p - p0) * g.panelFloats + line * g.width * kPanel;
      for (int64_t y = 0; y < lines; y++) packLine(g, b, oy * g.stride - g.pad + y, p, to + y * g.width * kPanel);
    }
    line += lines;
    r += part;
  }
}

// The (ky, kx, i) window of an output pixel, kernel * kernel * in floats.
void gatherWindow(const Images& s, int64_t b, int64_t oy, int64_t ox, float* dst) {
  const int64_t run = s.kernel * s.in, x0 = ox * s.stride - s.pad;
  for (int64_t ky = 0; ky < s.kernel; ky++, dst += run) {
    const int64_t iy = oy * s.stride + ky - s.pad;
    if (iy < 0 || iy >= s.h * s.upsample) {
      std::fill_n(dst, run, 0.0f);
      continue;
    }
    const float* row = s.x + (b * s.h + iy / s.upsample) * s.w * s.in;
    if (s.upsample == 1 && x0 >= 0 && x0 + s.kernel <= s.w) {
      std::copy_n(row + x0 * s.in, run, dst);
      continue;
    }
    for (int64_t kx = 0; kx < s.kernel; kx++) {
      const int64_t ix = x0 + kx;
      const bool outside = ix < 0 || ix >= s.w * s.upsample;
      for (int64_t i = 0; i < s.in; i++) dst[kx * s.in + i] = outside ? 0.0f : row[ix / s.upsample * s.in + i];
    }
  }
}

void packWindows(const void* source, int64_t m0, int64_t rows, int64_t p0, int64_t p1, float* dst, Segments& s) {
  const Images& g = *static_cast<const Images*>(source);
  s.count = 1;
  s.length = rows;
  s.start[0] = 0;
  const int64_t floats = g.kernel * g.kernel * g.in;
  float* window = dst + (p1 - p0) * g.panelFloats;  // TnProduct::extra
  std::fill(window + floats, window + ceilDiv(floats, kPanel) * kPanel, 0.0f);
  int64_t ox = m0 % g.outW, oy = m0 / g.outW % g.outH, b = m0 / (g.outW * g.outH);
  for (int64_t m = 0; m < rows; m++) {
    gatherWindow(g, b, oy, ox, window);
    for (int64_t p = p0; p < p1; p++) std::memcpy(dst + (p - p0) * g.panelFloats + m * kPanel, window + p * kPanel, kPanel * sizeof(float));
    if (++ox == g.outW) {
      ox = 0;
      if (++oy == g.outH) {
        oy = 0;
        b++;
      }
    }
  }
}

// Adds the sums of output channel o to its kernels [in][taps].
void addShifted(const TnProduct& p, const float* sums, int64_t o, int64_t in, float alpha, float* line, float* dw) {
  for (int64_t panel = 0; panel < p.panels; panel++) {
    tnSum(p, sums, o, panel * p.taps * kPanel, p.taps * kPanel, line);
    const int64_t channels = std::min(kPanel, in - panel * kPanel);
    float* to = dw + panel * kPanel * p.taps;
    for (int64_t i = 0; i < channels; i++) {
      for (int64_t t = 0; t < p.taps; t++) to[i * p.taps + t] += alpha * line[t * kPanel + i];
    }
  }
}

void addWindows(const TnProduct& p, const float* sums, int64_t o, int64_t in, int64_t taps, float alpha, float* line, float* dw) {
  tnSum(p, sums, o, 0, taps * in, line);
  for (int64_t i = 0; i < in; i++) {
    for (int64_t t = 0; t < taps; t++) dw[i * taps + t] += alpha * line[t * in + i];
  }
}

void finish(Context& ctx, const TnProduct& p, const float* sums, const Images& g, bool windows, float alpha, float* dw) {
  const int64_t taps = g.kernel * g.kernel;
  const size_t floats = static_cast<size_t>(windows ? p.panels * kPanel : p.taps * kPanel);
  for (int t = 0; t < ctx.pool.threads(); t++) ctx.perThread[t].floats(0, floats);
  ctx.pool.parallelFor(p.n, 8192 / (taps * g.in) + 1, [&](int64_t begin, int64_t end, int thread) {
    float* line = ctx.perThread[thread].floats(0, floats);
    for (int64_t o = begin; o < end; o++) {
      float* to = dw + o * g.in * taps;
      if (windows) {
        addWindows(p, sums, o, g.in, taps, alpha, line, to);
      } else {
        addShifted(p, sums, o, g.in, alpha, line, to);
      }
    }
  });
}

// Blocks of whole output rows; the panels of a block hold the rows of x under it, per image.
void planShifted(TnProduct& p, Images& g, int64_t* tapAt) {
  const int64_t lines = p.rows / g.outW, most = std::max<int64_t>(1, tnBlockRows(p.n) / g.outW);
  const int64_t block = ceilDiv(lines, ceilDiv(lines, most)), images = (block + g.outH - 2) / g.outH + 1;
  g.width = (g.outW - 1) * g.stride + g.kernel;
  g.panelFloats = ((block * g.stride + images * std::max<int64_t>(0, g.kernel - g.stride)) * g.width | 1) * kPanel;
  p.block = block * g.outW;
  p.runs = block;
  p.step = g.stride * kPanel;
  p.taps = g.kernel * g.kernel;
  p.panels = ceilDiv(g.in, kPanel);
  for (int64_t t = 0; t < p.taps; t++) tapAt[t] = (t / g.kernel * g.width + t % g.kernel) * kPanel;
}

void planWindows(TnProduct& p, Images& g, int64_t* tapAt) {
  p.block = ceilDiv(p.rows, ceilDiv(p.rows, tnBlockRows(p.n)));
  p.panels = ceilDiv(g.kernel * g.kernel * g.in, kPanel);
  p.extra = p.panels * kPanel;
  g.panelFloats = (p.block | 1) * kPanel;
  tapAt[0] = 0;
}

bool byWinograd(Context& ctx, const Images& g, const float* dy, int64_t batch, int64_t n, float alpha, float* dw) {
  const WinogradGrad v{g.x, dy, batch, g.h, g.w, g.in, g.outH, g.outW, n, g.pad, g.upsample};
  if (g.kernel != 3 || g.stride != 1 || !winogradGradPays(v)) return false;
  TnProduct p;
  const float* sums = winogradGrad(ctx, v, p);
  finish(ctx, p, sums, g, false, alpha, dw);
  return true;
}

void convGradW(Context& ctx, Images g, const float* dy, int64_t batch, int64_t n, float alpha, float* dw) {
  if (byWinograd(ctx, g, dy, batch, n, alpha, dw)) return;
  const bool windows = g.in <= kFewInputs;
  int64_t tapAt[kMaxTaps];
  TnProduct p;
  p.rows = batch * g.outH * g.outW;
  p.n = n;
  p.dy = dy;
  if (windows) {
    planWindows(p, g, tapAt);
  } else {
    planShifted(p, g, tapAt);
  }
  p.tapAt = tapAt;
  p.panelFloats = g.panelFloats;
  p.chunk = ceilDiv(p.blocks(), std::min(tnChunks(p.rows, n, p.columns()), p.blocks()));
  p.pack = windows ? packWindows : packShifted;
  p.source = &g;
  finish(ctx, p, gemmTn(ctx, p), g, windows, alpha, dw);
}

}  // namespace

namespace kernels {

Status conv2d_grad_w(Context& ctx, const NsCall& call, const op::conv2d_grad_w::Params& p) {
  using In = op::conv2d_grad_w::in::Index;
  const NsTensor& x = call.in[In::x];
  const NsTensor& dy = call.in[In::dy];
  const NsTensor& dw = call.in[In::dw];
  if (x.ndim != 4 || dy.ndim != 4 || dw.ndim != 4 || x.dims[0] != dy.dims[0] || dw.dims[0] != dy.dims[3] || dw.dims[1] != x.dims[3] ||
      dw.dims[2] != dw.dims[3] || p.stride < 1 || p.upsample < 1 || p.padBefore < 0) {
    return failure(NS_INVALID, "[conv2d_grad_w] x [.., %lld], dy [.., %lld] and dw [%lld, %lld, %lld, %lld] do not fit",
                   static_cast<long long>(x.dims[3]), static_cast<long long>(dy.dims[3]), static_cast<long long>(dw.dims[0]),
                   static_cast<long long>(dw.dims[1]), static_cast<long long>(dw.dims[2]), static_cast<long long>(dw.dims[3]));
  }
  const int64_t kernel = dw.dims[2], rows = dy.dims[0] * dy.dims[1] * dy.dims[2], n = dy.dims[3];
  if (kernel * kernel > kMaxTaps) return failure(NS_UNSUPPORTED, "[conv2d_grad_w] kernel %d, largest: 64", static_cast<int>(kernel));
  const float* source = in<float>(call, In::x);
  const float* gradient = in<float>(call, In::dy);
  float* target = mut<float>(call, In::dw);
  if (rows == 0 || count(dw) == 0) return Status();
  if (kernel == 1 && p.stride == 1 && p.upsample == 1 && p.padBefore == 0 && p.padAfter == 0) {
    linearGradW(ctx, source, gradient, rows, x.dims[3], n, p.alpha, target);
  } else {
    const Images g{source, x.dims[1], x.dims[2], x.dims[3], dy.dims[1], dy.dims[2], kernel, p.stride, p.padBefore, p.upsample, 0, 0};
    convGradW(ctx, g, gradient, dy.dims[0], n, p.alpha, target);
  }
  if (input(call, In::dbias)) columnSums(ctx, gradient, rows, n, p.alpha, mut<float>(call, In::dbias));
  return Status();
}

}  // namespace kernels
}  // namespace ns::cpu

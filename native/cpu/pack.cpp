// linear_pack and conv_pack: weights to panels of 16 output channels, once per model, or once per step in training; transpose packs the
// weight of the input's gradient, whose output channels are the input channels of w.
// Floor: source and target bytes at copy bandwidth; winograd transforms about 100 FLOP per 3x3 kernel in f64, 16 kernels at a time.
// Layout: gemm.h and ops.json. The sources are often memory-mapped: rows are read in long runs, panels are split over the threads.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "native/cpu/cast.h"
#include "native/cpu/gemm.h"
#include "native/cpu/winograd.h"

namespace ns::cpu {
namespace {

constexpr int64_t kRun = 256;

const char* offset(const void* base, int64_t elements, DType dtype) {
  return static_cast<const char*>(base) + elements * static_cast<int64_t>(dtypeSize(dtype));
}

// Panel p of a [n,k] matrix, columns [0,k).
void packLinearPanel(const NsTensor& w, int64_t n, int64_t k, int64_t p, DType to, char* panel) {
  alignas(64) float rows[kPanel][kRun];
  alignas(64) float turned[kRun * kPanel];
  const DType from = dtype(w);
  const int64_t cols = std::min(kPanel, n - p * kPanel);
  for (int64_t j = cols; j < kPanel; j++) std::fill_n(rows[j], kRun, 0.0f);
  for (int64_t k0 = 0; k0 < k; k0 += kRun) {
    const int64_t kn = std::min(kRun, k - k0);
    for (int64_t j = 0; j < cols; j++) castRow(from, DType::f32, offset(w.data, (p * kPanel + j) * k + k0, from), rows[j], kn);
    for (int64_t i = 0; i < kn; i++) {
      for (int64_t j = 0; j < kPanel; j++) turned[i * kPanel + j] = rows[j][i];
    }
    char* target = panel + k0 * kPanel * static_cast<int64_t>(dtypeSize(to));
    castRow(DType::f32, to, turned, target, kn * kPanel);
  }
}

// Panel p of the transpose of a [n,k] matrix: rows are already k-major, 16 columns of each go into the panel.
void packTurnedPanel(const NsTensor& w, int64_t n, int64_t k, int64_t p, DType to, char* panel) {
  alignas(64) float lines[kRun * kPanel] = {};
  const DType from = dtype(w);
  const int64_t cols = std::min(kPanel, k - p * kPanel), element = static_cast<int64_t>(dtypeSize(to));
  for (int64_t n0 = 0; n0 < n; n0 += kRun) {
    const int64_t nn = std::min(kRun, n - n0);
    for (int64_t i = 0; i < nn; i++) {
      const char* source = offset(w.data, (n0 + i) * k + p * kPanel, from);
      if (from == DType::f32 && cols == kPanel) {
        std::memcpy(lines + i * kPanel, source, kPanel * sizeof(float));
      } else {
        castRow(from, DType::f32, source, lines + i * kPanel, cols);
      }
    }
    castRow(DType::f32, to, lines, panel + n0 * kPanel * element, nn * kPanel);
  }
}

// Panel p of a [n,k] matrix as int8: scale = largest magnitude of the row / 127, values w / scale rounded to nearest (ties to even).
// A row that is not finite gets a scale that is not.
void packInt8Panel(const NsTensor& w, int64_t n, int64_t k, int64_t p, int8_t* panel, float* scales, float* row) {
  const DType from = dtype(w);
  for (int64_t j = 0; j < kPanel; j++) {
    const int64_t at = p * kPanel + j;
    float most = 0.0f;
    if (at < n) {
      castRow(from, DType::f32, offset(w.data, at * k, from), row, k);
      for (int64_t i = 0; i < k; i++) most = std::abs(row[i]) <= most || std::isnan(most) ? most : std::abs(row[i]);
    }
    const float scale = scales[j] = most / 127.0f;
    const bool any = scale > 0 && std::isfinite(scale);
    for (int64_t i = 0; i < k; i++) panel[i * kPanel + j] = any ? static_cast<int8_t>(std::nearbyint(row[i] / scale)) : int8_t{0};
  }
}

// The convolution that the panels are for: o and i exchanged where w is packed transposed.
struct ConvShape {
  int64_t o, i, taps;
  bool transpose;
};

int64_t channelsPerRun(int64_t taps) { return std::max<int64_t>(1, kRun / taps); }

// The kernels of 16 output channels for some input channels: tap t of (j, i) at data[j * output + i * input + (turned ? taps - 1 - t : t)].
struct Kernels {
  float* data;
  int64_t output, input;
  bool turned;
};

// Output channels of panel p, input channels [i0, i0 + count); missing channels are zero. A transposed weight is [i][o][taps] with every
// kernel turned by 180 degrees.
Kernels readKernels(const NsTensor& w, const ConvShape& s, int64_t p, int64_t i0, int64_t count, float* dst) {
  const DType from = dtype(w);
  const int64_t cols = std::min(kPanel, s.o - p * kPanel);
  if (s.transpose) {
    const int64_t input = kPanel * s.taps;
    for (int64_t i = 0; i < count; i++) {
      float* to = dst + i * input;
      castRow(from, DType::f32, offset(w.data, ((i0 + i) * s.o + p * kPanel) * s.taps, from), to, cols * s.taps);
      std::fill(to + cols * s.taps, to + input, 0.0f);
    }
    return {dst, s.taps, input, true};
  }
  const int64_t run = count * s.taps;
  for (int64_t j = 0; j < cols; j++) {
    castRow(from, DType::f32, offset(w.data, ((p * kPanel + j) * s.i + i0) * s.taps, from), dst + j * run, run);
  }
  std::fill(dst + cols * run, dst + kPanel * run, 0.0f);
  return {dst, run, s.taps, false};
}

void packDirectPanel(const NsTensor& w, const ConvShape& s, int64_t p, DType to, char* panel, float* scratch) {
  const int64_t step = channelsPerRun(s.taps);
  alignas(64) float turned[kRun * kPanel];
  for (int64_t i0 = 0; i0 < s.i; i0 += step) {
    const int64_t count = std::min(step, s.i - i0);
    const Kernels k = readKernels(w, s, p, i0, count, scratch);
    for (int64_t t = 0; t < s.taps; t++) {
      const float* tap = k.data + (k.turned ? s.taps - 1 - t : t);
      for (int64_t i = 0; i < count; i++) {
        for (int64_t j = 0; j < kPanel; j++) turned[i * kPanel + j] = tap[j * k.output + i * k.input];
      }
      castRow(DType::f32, to, turned, panel + (t * s.i + i0) * kPanel * static_cast<int64_t>(dtypeSize(to)), count * kPanel);
    }
  }
}

void packWinogradPanel(const NsTensor& w, const ConvShape& s, int64_t p, int m, DType to, char* packed, float* scratch) {
  const int64_t step = channelsPerRun(s.taps), points = (m + 2) * (m + 2), line = kPanel * static_cast<int64_t>(dtypeSize(to));
  const int64_t plane = ceilDiv(s.o, kPanel) * s.i * line;
  alignas(64) float g[9 * kPanel];
  alignas(64) float u[36 * kPanel];
  for (int64_t i0 = 0; i0 < s.i; i0 += step) {
    const int64_t count = std::min(step, s.i - i0);
    const Kernels k = readKernels(w, s, p, i0, count, scratch);
    for (int64_t i = 0; i < count; i++) {
      for (int64_t t = 0; t < 9; t++) {
        const float* tap = k.data + i * k.input + (k.turned ? 8 - t : t);
        for (int64_t j = 0; j < kPanel; j++) g[t * kPanel + j] = tap[j * k.output];
      }
      winogradWeights(m, g, u);
      char* target = packed + (p * s.i + i0 + i) * line;
      for (int64_t q = 0; q < points; q++, target += plane) {
        if (to == DType::f32) {
          std::memcpy(target, u + q * kPanel, kPanel * sizeof(float));
        } else {
          castRow(DType::f32, to, u + q * kPanel, target, kPanel);
        }
      }
    }
  }
}

Status packInt8(Context& ctx, const NsTensor& w, char* packed) {
  const int64_t n = w.dims[0], k = w.dims[1], panels = ceilDiv(n, kPanel);
  float* scales = reinterpret_cast<float*>(packed + panels * k * kPanel);
  for (int t = 0; t < ctx.pool.threads(); t++) ctx.perThread[t].floats(0, static_cast<size_t>(k));
  ctx.pool.parallelFor(panels, 1, [&](int64_t begin, int64_t end, int thread) {
    float* row = ctx.perThread[thread].floats(0, static_cast<size_t>(k));
    for (int64_t i = begin; i < end; i++) {
      packInt8Panel(w, n, k, i, reinterpret_cast<int8_t*>(packed + i * k * kPanel), scales + i * kPanel, row);
    }
  });
  return Status();
}

}  // namespace

namespace kernels {

Status linear_pack(Context& ctx, const NsCall& call, const op::linear_pack::Params& p) {
  const NsTensor& w = call.in[0];
  if (w.ndim != 2) return failure(NS_INVALID, "[linear_pack] w has %d dims, needs 2", w.ndim);
  if (p.dtype == DType::u8 && p.transpose) return failure(NS_INVALID, "[linear_pack] int8 panels have no transpose");
  if (p.dtype == DType::u8) return packInt8(ctx, w, out<char>(call, 0));
  const int64_t n = w.dims[0], k = w.dims[1];
  const int64_t panels = ceilDiv(p.transpose ? k : n, kPanel),
                bytes = (p.transpose ? n : k) * kPanel * static_cast<int64_t>(dtypeSize(p.dtype));
  char* packed = out<char>(call, 0);
  const auto pack = p.transpose ? packTurnedPanel : packLinearPanel;
  ctx.pool.parallelFor(panels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) pack(w, n, k, i, p.dtype, packed + i * bytes);
  });
  return Status();
}

Status conv_pack(Context& ctx, const NsCall& call, const op::conv_pack::Params& p) {
  const NsTensor& w = call.in[0];
  if (w.ndim != 4) return failure(NS_INVALID, "[conv_pack] w has %d dims, needs 4", w.ndim);
  const ConvShape s{w.dims[p.transpose ? 1 : 0], w.dims[p.transpose ? 0 : 1], w.dims[2] * w.dims[3], p.transpose != 0};
  const bool direct = p.algo == op::conv_pack::Algo::direct;
  if (!direct && (w.dims[2] != 3 || w.dims[3] != 3)) {
    return failure(NS_INVALID, "[conv_pack] winograd needs a 3x3 kernel, got %lldx%lld", static_cast<long long>(w.dims[2]),
                   static_cast<long long>(w.dims[3]));
  }
  const size_t floats = static_cast<size_t>(kPanel * channelsPerRun(s.taps) * s.taps);
  for (int t = 0; t < ctx.pool.threads(); t++) ctx.perThread[t].floats(0, floats);
  char* packed = out<char>(call, 0);
  const int64_t bytes = s.taps * s.i * kPanel * static_cast<int64_t>(dtypeSize(p.dtype));
  ctx.pool.parallelFor(ceilDiv(s.o, kPanel), 1, [&](int64_t begin, int64_t end, int thread) {
    float* kernels = ctx.perThread[thread].floats(0, floats);
    for (int64_t i = begin; i < end; i++) {
      if (direct) {
        packDirectPanel(w, s, i, p.dtype, packed + i * bytes, kernels);
      } else {
        packWinogradPanel(w, s, i, p.algo == op::conv_pack::Algo::winograd2 ? 2 : 4, p.dtype, packed, kernels);
      }
    }
  });
  return Status();
}

}  // namespace kernels
}  // namespace ns::cpu

// interpolate_grad: the transpose of interpolate (area, bicubic, nearest).
// Floor: bound by memory for nearest and area, dy read once and dx written once; bicubic multiplies each dy 16 times.
// Layout: NHWC. Gather form: per dim, each input coordinate has the list of the output coordinates that read it, with their weights
// (those of the forward op; taps that clamp to the same pixel are added first). A pixel sums its rows in ascending order, in registers
// along the channels; threads take whole rows of dx, so nothing is added concurrently.
// Reference: the gradient of F.interpolate as in interpolate.cpp.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/interpolate_grad.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/context.h"
#include "native/cpu/interpolate.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

// dx[c] = sum_i wy[i] sum_j wx[j] dy[ys[i] * rowStride + xs[j] * C + c]
void GatherPixel(const float* dy, int64_t rowStride, const int32_t* ys, const float* wy, int64_t h, const int32_t* xs, const float* wx,
                 int64_t w, int64_t C, float* dx) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < C; c += N) {
    const size_t rest = static_cast<size_t>(C - c);
    const bool whole = C - c >= N;
    auto s = hn::Zero(d);
    for (int64_t i = 0; i < h; i++) {
      const float* row = dy + ys[i] * rowStride + c;
      auto r = hn::Zero(d);
      for (int64_t j = 0; j < w; j++) {
        const float* p = row + xs[j] * C;
        r = hn::MulAdd(whole ? hn::LoadU(d, p) : LoadPart(d, p, rest, 0.0f), hn::Set(d, wx[j]), r);
      }
      s = hn::MulAdd(r, hn::Set(d, wy[i]), s);
    }
    if (whole) {
      hn::StoreU(s, d, dx + c);
    } else {
      StorePart(d, s, dx + c, rest);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <vector>

namespace ns::cpu {
HWY_EXPORT(GatherPixel);

namespace {
using Mode = op::interpolate_grad::Mode;

// Per input coordinate i the outputs from[i] to from[i + 1] - 1 that read it.
struct Readers {
  std::vector<int64_t> from;
  std::vector<int32_t> at;
  std::vector<float> weight;
};

struct Read {
  int64_t in;
  int32_t out;
  float weight;
};

void addReads(Mode mode, int64_t in, int64_t out, int64_t o, std::vector<Read>& reads) {
  const int32_t to = static_cast<int32_t>(o);
  if (mode == Mode::nearest) {
    reads.push_back({o * in / out, to, 1.0f});
  } else if (mode == Mode::area) {
    const int64_t a = o * in / out, b = ((o + 1) * in + out - 1) / out;
    for (int64_t i = a; i < b; i++) reads.push_back({i, to, 1.0f / static_cast<float>(b - a)});
  } else {
    const Cubic c = cubicAt(o, in, out);
    for (int k = 0; k < 4; k++) {  // clamped taps are neighbours
      if (k && c.at[k] == c.at[k - 1]) {
        reads.back().weight += c.weight[k];
      } else {
        reads.push_back({c.at[k], to, c.weight[k]});
      }
    }
  }
}

// Stable by input coordinate: the outputs of each stay ascending.
Readers readersOf(Mode mode, int64_t in, int64_t out) {
  std::vector<Read> reads;
  for (int64_t o = 0; o < out; o++) addReads(mode, in, out, o, reads);
  Readers r;
  r.from.assign(static_cast<size_t>(in) + 1, 0);
  for (const Read& e : reads) r.from[static_cast<size_t>(e.in) + 1]++;
  for (size_t i = 0; i < static_cast<size_t>(in); i++) r.from[i + 1] += r.from[i];
  r.at.resize(reads.size());
  r.weight.resize(reads.size());
  std::vector<int64_t> next(r.from.begin(), r.from.end() - 1);
  for (const Read& e : reads) {
    const size_t slot = static_cast<size_t>(next[static_cast<size_t>(e.in)]++);
    r.at[slot] = e.out;
    r.weight[slot] = e.weight;
  }
  return r;
}
}  // namespace

namespace kernels {

Status interpolate_grad(Context& ctx, const NsCall& call, const op::interpolate_grad::Params& p) {
  const NsTensor& t = call.in[0];
  const int64_t outH = t.dims[1], outW = t.dims[2], C = t.dims[3], h = p.h, w = p.w;
  const float* dy = in<float>(call, 0);
  float* dx = out<float>(call, 0);
  if (outH < 1 || outW < 1) return failure(NS_INVALID, "[interpolate_grad] dy has no pixels");
  const Readers rows = readersOf(p.mode, h, outH), columns = readersOf(p.mode, w, outW);
  const auto pixel = HWY_DYNAMIC_DISPATCH(GatherPixel);
  const int64_t work = w * C + outH * outW * C / h;
  ctx.pool.parallelFor(t.dims[0] * h, 8192 / (work + 1) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const int64_t b = r / h, y0 = rows.from[static_cast<size_t>(r - b * h)], y1 = rows.from[static_cast<size_t>(r - b * h) + 1];
      const float* image = dy + b * outH * outW * C;
      for (int64_t j = 0; j < w; j++) {
        const int64_t x0 = columns.from[static_cast<size_t>(j)], x1 = columns.from[static_cast<size_t>(j) + 1];
        pixel(image, outW * C, rows.at.data() + y0, rows.weight.data() + y0, y1 - y0, columns.at.data() + x0, columns.weight.data() + x0,
              x1 - x0, C, dx + (r * w + j) * C);
      }
    }
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif

// adamw8: adamw with 8-bit moments in blocks of 256 elements, a block by one warp, eight elements to a lane.
// Floor: bytes: 16 per element in f32 (p read and written, g read, 2 codes read and written, scales).
// With s = c - 128, code c of m means scale * sign(s) * (s / 127)^2 and code c of v scale * (c / 255)^2. The parameter takes the exact new
// moments, then the largest magnitude becomes the scale and each moment its nearest code (halfway between the squares). All 0: scale 0.
// Reference: Dettmers et al., 8-bit Optimizers via Block-wise Quantization, with a quadratic instead of a dynamic code.
#include "cuda/common/reduce.h"
#include "cuda/ops/optimizer.h"

namespace ns::cuda {
namespace {

constexpr int kThreads = 256, kBlock = 256;
constexpr int kOwn = kBlock / kWarp / kQuad;  // quads of a lane

struct Codes {
  uint8_t *m, *v;
  float *mScale, *vScale;
  bool quads;
};

// The q with q^2 nearest to t >= 0: q^2 - q + 1/2 <= t < q^2 + q + 1/2; NaN gives 0.
__device__ inline float nearestRoot(float t, float most) {
  const float u = t - 0.25f;
  return fminf(floorf(sqrtf(u > 0.0f ? u : 0.0f) + 0.5f), most);
}

// Of the elements at `at` those that exist, `left`; the others get `fill`.
__device__ inline Pack<uint8_t, kQuad> loadCodes(const uint8_t* from, int64_t at, int64_t left, bool whole, int fill) {
  if (whole) return loadPack<kQuad>(from + at);
  Pack<uint8_t, kQuad> p;
  for (int e = 0; e < kQuad; e++) p.v[e] = e < left ? from[at + e] : static_cast<uint8_t>(fill);
  return p;
}
__device__ inline void storeCodes(uint8_t* to, int64_t at, int64_t left, bool whole, const Pack<uint8_t, kQuad>& p) {
  if (whole) return storePack(to + at, p);
  for (int e = 0; e < kQuad; e++) {
    if (e < left) to[at + e] = p.v[e];
  }
}

// Four elements: the moments decoded, the step taken, the parameter written.
__device__ inline void stepQuad(const Step& s, const Trained& t, const Codes& codes, int64_t at, int64_t left, bool whole, float oldM,
                                float oldV, float (&m)[kQuad], float (&v)[kQuad]) {
  const Pack<uint8_t, kQuad> cm = loadCodes(codes.m, at, left, whole, 128), cv = loadCodes(codes.v, at, left, whole, 0);
  float p[kQuad], g[kQuad];
  readQuad(t.own, at, left, 0.0f, p);
  readQuad(t.grad, at, left, 0.0f, g);
  for (int e = 0; e < kQuad; e++) {
    const float dm = static_cast<float>(static_cast<int>(cm.v[e]) - 128), dv = static_cast<float>(cv.v[e]);
    m[e] = dm * fabsf(dm) * (1.0f / 16129) * oldM;
    v[e] = dv * dv * (1.0f / 65025) * oldV;
    adam(s, g[e], p[e], m[e], v[e]);
    v[e] = fminf(v[e], 3.40282347e38f);  // an infinite scale would turn every code of the block into NaN
  }
  writeQuad(t.own, at, left, p);
  if (t.copy.data) writeQuad(t.copy, at, left, p);
}

__device__ inline void encodeQuad(const Codes& codes, int64_t at, int64_t left, bool whole, float topM, float topV, const float (&m)[kQuad],
                                  const float (&v)[kQuad]) {
  Pack<uint8_t, kQuad> cm, cv;
  for (int e = 0; e < kQuad; e++) {
    const float qm = nearestRoot(fabsf(m[e]) / topM * 16129.0f, 127.0f), qv = nearestRoot(v[e] / topV * 65025.0f, 255.0f);
    cm.v[e] = static_cast<uint8_t>(128 + static_cast<int>(copysignf(qm, m[e])));
    cv.v[e] = static_cast<uint8_t>(v[e] > 0.0f && qv < 1.0f ? 1.0f : qv);
  }
  storeCodes(codes.m, at, left, whole, cm);
  storeCodes(codes.v, at, left, whole, cv);
}

__global__ void __launch_bounds__(kThreads, 3) adam8Pass(Trained t, Codes codes, const Step* step, int64_t n) {
  const Step s = *step;
  if (s.skip) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t blocks = (n + kBlock - 1) / kBlock, stride = int64_t{gridDim.x} * (kThreads / kWarp);
  const bool quads = codes.quads && t.own.quads && t.grad.quads && (!t.copy.data || t.copy.quads);
  for (int64_t b = int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp; b < blocks; b += stride) {
    const float oldM = codes.mScale[b], oldV = codes.vScale[b];
    const bool whole = quads && (b + 1) * kBlock <= n;
    t.own.quads = t.grad.quads = t.copy.quads = whole;
    float m[kOwn][kQuad], v[kOwn][kQuad], topM = 0.0f, topV = 0.0f;
#pragma unroll
    for (int k = 0; k < kOwn; k++) {
      const int64_t at = b * kBlock + (k * kWarp + lane) * kQuad;
      stepQuad(s, t, codes, at, n - at, whole, oldM, oldV, m[k], v[k]);
      for (int e = 0; e < kQuad; e++) {  // fmaxf passes NaN by
        topM = fmaxf(topM, fabsf(m[k][e]));
        topV = fmaxf(topV, v[k][e]);
      }
    }
    topM = warpMax(topM);  // every lane has read the old scales before
    topV = warpMax(topV);
    if (lane == 0) {
      codes.mScale[b] = topM;
      codes.vScale[b] = topV;
    }
#pragma unroll
    for (int k = 0; k < kOwn; k++) {
      const int64_t at = b * kBlock + (k * kWarp + lane) * kQuad;
      encodeQuad(codes, at, n - at, whole, topM > 0.0f ? topM : 1.0f, topV > 0.0f ? topV : 1.0f, m[k], v[k]);
    }
  }
}

}  // namespace

namespace ops {

Status adamw8(const Context& ctx, const NsCall& call, const op::adamw8::Params& p) {
  namespace I = op::adamw8::in;
  const float* stats = optional(call, I::stats);
  if (p.maxNorm > 0 && !stats) return failure(NS_INVALID, "[adamw8] maxNorm is %g, but stats are missing", static_cast<double>(p.maxNorm));
  const int64_t n = count(call.in[I::param]);
  if (n == 0) return Status();
  Step* step;
  if (Status s = launchStep(ctx, adamSettings(p), stats, optional(call, I::dynamic), &step); !s.ok()) return s;
  Codes codes{mut<uint8_t>(call, I::m), mut<uint8_t>(call, I::v), mut<float>(call, I::mScale), mut<float>(call, I::vScale), false};
  codes.quads = packs<uint8_t>(codes.m, kQuad, kQuad) && packs<uint8_t>(codes.v, kQuad, kQuad);
  const Shape shape{gridFor(ctx, divUp(n, int64_t{kBlock} * (kThreads / kWarp))), dim3(kThreads)};
  return launch(ctx, adam8Pass, shape, trained(call, I::param, I::grad, I::master), codes, step, n);
}

}  // namespace ops
}  // namespace ns::cuda

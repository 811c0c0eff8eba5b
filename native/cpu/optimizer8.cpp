// adamw8: adamw with 8-bit moments in blocks of 256 elements.
// Floor: bound by memory: 16 bytes per element in f32 (p read and written, g read, 2 codes read and written, scales); two square roots and
// two divisions per element for the codes.
// Layout: flat, blocks of 256 from element 0. With s = c - 128, code c of m means scale * sign(s) * (s / 127)^2 and code c of v
// scale * (c / 255)^2. The block is decoded, updated and kept in L1; the parameter takes the exact new moments, then the largest magnitude
// becomes the scale and each moment its nearest code (halfway between the squares, not between the roots). All 0: scale 0.
// Reference: Dettmers et al., 8-bit Optimizers via Block-wise Quantization, with a quadratic instead of a dynamic code.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/optimizer8.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/optimizer-inl.h"
#include "native/cpu/optimizer.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

constexpr int64_t kAdam8Block = 256;  // a multiple of every vector length

// The q with q^2 nearest to t >= 0: q^2 - q + 1/2 <= t < q^2 + q + 1/2; NaN gives 0.
template <class D, class V>
HWY_INLINE V NearestRoot(D d, V t, float most) {
  const V u = hn::Sub(t, hn::Set(d, 0.25f));
  const V root = hn::Sqrt(hn::IfThenElseZero(hn::Gt(u, hn::Zero(d)), u));
  return hn::Min(hn::Floor(hn::Add(root, hn::Set(d, 0.5f))), hn::Set(d, most));
}

// One block: p and g are f32, m and v codes, all of kAdam8Block elements.
void Adam8Block(const AdamStep& step, float* p, const float* g, uint8_t* m, uint8_t* v, float* mScale, float* vScale) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<uint8_t, F32> d8;
  using V = hn::Vec<F32>;
  const AdamStep s = step;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  alignas(64) float fm[kAdam8Block], fv[kAdam8Block];
  const V oldM = hn::Set(d, *mScale), oldV = hn::Set(d, *vScale), most = hn::Set(d, 3.40282347e38f);
  const auto read = [&](const uint8_t* c) { return hn::PromoteTo(di, hn::LoadU(d8, c)); };
  V topM = hn::Zero(d), topV = hn::Zero(d);
  for (int64_t i = 0; i < kAdam8Block; i += N) {
    const V cm = hn::ConvertTo(d, hn::Sub(read(m + i), hn::Set(di, 128))), cv = hn::ConvertTo(d, read(v + i));
    V vm = hn::Mul(hn::Mul(hn::Mul(cm, hn::Abs(cm)), hn::Set(d, 1.0f / 16129)), oldM);
    V vv = hn::Mul(hn::Mul(hn::Mul(cv, cv), hn::Set(d, 1.0f / 65025)), oldV);
    V vp = hn::LoadU(d, p + i);
    AdamVector(d, s, hn::LoadU(d, g + i), vp, vm, vv);
    hn::StoreU(vp, d, p + i);
    vv = hn::Min(vv, most);  // an infinite scale would turn every code of the block into NaN
    hn::Store(vm, d, fm + i);
    hn::Store(vv, d, fv + i);
    topM = hn::Max(topM, hn::Abs(vm));
    topV = hn::Max(topV, vv);
  }
  *mScale = hn::GetLane(hn::MaxOfLanes(d, topM));
  *vScale = hn::GetLane(hn::MaxOfLanes(d, topV));
  const V newM = hn::Set(d, *mScale > 0 ? *mScale : 1.0f), newV = hn::Set(d, *vScale > 0 ? *vScale : 1.0f);
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), middle = hn::Set(d, 128.0f);
  const auto write = [&](V q, uint8_t* c) { hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, q)), d8, c); };
  for (int64_t i = 0; i < kAdam8Block; i += N) {
    const V vm = hn::Load(d, fm + i), vv = hn::Load(d, fv + i);
    const V qm = NearestRoot(d, hn::Mul(hn::Div(hn::Abs(vm), newM), hn::Set(d, 16129.0f)), 127.0f);
    const V qv = NearestRoot(d, hn::Mul(hn::Div(vv, newV), hn::Set(d, 65025.0f)), 255.0f);
    write(hn::Add(middle, hn::CopySign(qm, vm)), m + i);
    write(hn::IfThenElse(hn::Gt(vv, zero), hn::Max(qv, one), qv), v + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(Adam8Block);

namespace {
constexpr int64_t kBlock = 256;

// The last, shorter block goes through a padded copy: zeros, which neither raise a scale nor are written back.
void lastBlock(const AdamStep& step, float* p, const float* g, uint8_t* m, uint8_t* v, float* mScale, float* vScale, int64_t n) {
  float fp[kBlock] = {}, fg[kBlock] = {};
  uint8_t cm[kBlock], cv[kBlock] = {};
  const size_t size = static_cast<size_t>(n);
  std::memset(cm, 128, sizeof(cm));
  std::memcpy(fp, p, size * sizeof(float));
  std::memcpy(fg, g, size * sizeof(float));
  std::memcpy(cm, m, size);
  std::memcpy(cv, v, size);
  HWY_DYNAMIC_DISPATCH(Adam8Block)(step, fp, fg, cm, cv, mScale, vScale);
  std::memcpy(p, fp, size * sizeof(float));
  std::memcpy(m, cm, size);
  std::memcpy(v, cv, size);
}
}  // namespace

namespace kernels {

Status adamw8(Context& ctx, const NsCall& call, const op::adamw8::Params& given) {
  using In = op::adamw8::in::Index;
  const op::adamw8::Params p = withDynamic(given, call, In::dynamic);
  const float* stats = input(call, In::stats) ? in<float>(call, In::stats) : nullptr;
  if (p.maxNorm > 0 && !stats) return failure(NS_INVALID, "[adamw8] maxNorm is %g, but stats are missing", static_cast<double>(p.maxNorm));
  const Clip clip = clipOf(stats, p.invScale, p.maxNorm);
  if (clip.skip) return {};
  const AdamStep step = adamStepOf(p, stepOf(p, call, In::dynamic), clip.factor);
  const Trained trained(call, In::param, In::grad, In::master);
  uint8_t *m = mut<uint8_t>(call, In::m), *v = mut<uint8_t>(call, In::v);
  float *mScale = mut<float>(call, In::mScale), *vScale = mut<float>(call, In::vScale);
  const auto block = HWY_DYNAMIC_DISPATCH(Adam8Block);
  ctx.pool.parallelFor(count(call.in[In::param]), kOptimizerGrain, [&](int64_t begin, int64_t end, int) {
    trained.each(begin, end, [&](float* x, const float* g, int64_t at, int64_t n) {  // chunks and grains are multiples of a block
      for (int64_t i = 0; i < n; i += kBlock) {
        const int64_t e = at + i, b = e / kBlock;
        if (n - i < kBlock) {
          lastBlock(step, x + i, g + i, m + e, v + e, mScale + b, vScale + b, n - i);
        } else {
          block(step, x + i, g + i, m + e, v + e, mScale + b, vScale + b);
        }
      }
    });
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif

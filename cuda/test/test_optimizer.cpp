// grad_stats, adamw, adamw8 and sgd against plain double loops: segments across and within blocks, ends that are no whole quads, unaligned
// ranges, every dtype; steps that are skipped; the numbers of a step from attributes and from `dynamic`.
#include "cuda/test/device_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {

using Values = std::vector<double>;

std::mt19937 rng(8);

template <class T>
struct Plain {
  void* data = nullptr;
  int64_t n;
  DType type;
  Plain(const std::vector<T>& v, DType t) : n(static_cast<int64_t>(v.size())), type(t) {
    cudaMalloc(&data, v.size() * sizeof(T));
    cudaMemcpy(data, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~Plain() { cudaFree(data); }
  NsTensor tensor() const { return {data, static_cast<int32_t>(type), 1, {n}}; }
  std::vector<T> get() const {
    std::vector<T> v(static_cast<size_t>(n));
    cudaMemcpy(v.data(), data, v.size() * sizeof(T), cudaMemcpyDeviceToHost);
    return v;
  }
};

template <class P>
Status runTensors(Status (*op)(const Context&, const NsCall&, const P&), const P& p, std::vector<NsTensor> in, const NsTensor* out) {
  const NsCall call{TestDevice::kOp, static_cast<int32_t>(in.size()), out ? 1 : 0, in.data(), out, &p};
  return op(device.context(), call, p);
}
NsTensor given(const Buffer* b) { return b ? b->tensor() : NsTensor{}; }

void stats(int64_t n, const std::vector<int32_t>& offsets, DType type, int shift) {
  Buffer g({n}, type, shift), s({static_cast<int64_t>(offsets.size()) - 1, 2}, DType::f32, shift);
  Values v = g.random(rng);
  for (size_t i = 0; i < v.size(); i += 1 + rng() % 300) v[i] = i % 3 ? NAN : -INFINITY;
  v = g.set(v);
  Values want;
  for (size_t i = 0; i + 1 < offsets.size(); i++) {
    double sum = 0, bad = 0;
    for (int32_t k = offsets[i]; k < offsets[i + 1]; k++) std::isfinite(v[k]) ? sum += v[k] * v[k] : bad++;
    want.push_back(sum);
    want.push_back(bad);
  }
  const Plain<int32_t> o(offsets, DType::i32);
  const NsTensor out = s.tensor();
  check(runTensors(ops::grad_stats, {}, {g.tensor(), o.tensor()}, &out).ok(), "grad_stats runs");
  const Values got = s.get();
  bool right = s.guarded() && device.takeError().code == 0;
  for (size_t i = 0; i < want.size(); i++) right = right && (i % 2 ? got[i] == want[i] : std::abs(got[i] - want[i]) <= 1e-7 * want[i]);
  check(right, "grad_stats", std::to_string(n) + " in " + std::to_string(want.size() / 2) + " " + dtypeName(type));
}

void manyStats() {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    for (const int shift : {0, 1}) {
      stats(100003, {0, 100003}, type, shift);
      stats(100003, {5, 5, 6, 8192, 8193, 16384, 24000, 24001, 24001, 99999}, type, shift);
      stats(3, {0, 1, 1, 3}, type, shift);
      std::vector<int32_t> offsets{0};
      while (offsets.back() < 40000) offsets.push_back(offsets.back() + static_cast<int32_t>(rng() % (offsets.size() % 2 ? 30 : 900)));
      stats(offsets.back(), offsets, type, shift);
    }
  }
  stats(8192, {0, 8192}, DType::f32, 0);
  Buffer g({1000}, DType::f32), s({3, 2}, DType::f32);
  g.random(rng);
  const NsTensor out = s.tensor();
  struct Bad {
    std::vector<int32_t> offsets;
    int at;
  };
  for (const Bad& b :
       {Bad{{0, 100, 1001, 1001}, 2}, Bad{{-1, 5, 10, 1000}, 0}, Bad{{0, 500, 400, 1000}, 2}, Bad{{0, 5, INT32_MIN, 9}, 2}}) {
    const Plain<int32_t> o(b.offsets, DType::i32);
    runTensors(ops::grad_stats, {}, {g.tensor(), o.tensor()}, &out);
    const DeviceError e = device.takeError();
    const Values v = s.get();
    check(e.code == NS_INDEX && (std::isnan(v[0]) || std::isnan(v[2]) || std::isnan(v[4])) && s.guarded(), "wrong offsets are told");
  }
}

// What a step is asked to do, beyond its tensors.
struct Kind {
  int64_t n;
  DType param, grad;
  bool master, dynamic;
  int shift;
  std::string name(const char* op) const {
    return std::string(op) + " " + std::to_string(n) + " " + dtypeName(param) + " " + dtypeName(grad) + (master ? " master" : "") +
           (dynamic ? " dynamic" : "") + " shift " + std::to_string(shift);
  }
};

struct Tensors {
  Buffer param, grad, m, v, master, dynamic, stats;
  Values p, g, m0, v0;
  explicit Tensors(const Kind& k)
      : param({k.n}, k.param, k.shift),
        grad({k.n}, k.grad, k.shift),
        m({k.n}, DType::f32, k.shift),
        v({k.n}, DType::f32),
        master({k.n}, DType::f32, k.shift),
        dynamic({4}, DType::f32),
        stats({2}, DType::f32) {
    p = param.random(rng);
    g = grad.random(rng);
    m0 = m.random(rng);
    v0 = v.random(rng);
    for (double& a : v0) a = std::abs(a);
    v0 = v.set(v0);
    if (k.master) p = master.random(rng);
    dynamic.set({0.01, 0.05, 1200, 0.25});
    stats.set({400, 0});
  }
};

void expect(Buffer& b, const Values& want, const std::string& what, double tolerance) {
  const double e = errorOf(b.get(), want), limit = tolerance + roundingOf(b.type());
  check(e <= limit && b.guarded(), what.c_str(), "error " + std::to_string(e / limit) + " of what is allowed");
}

void adam(const Kind& k, bool decoupled) {
  Tensors t(k);
  const double lr = 0.01f, decay = 0.05f, factor = 0.25 * std::min(1.0, 2 / (20 * 0.25 + 1e-6)), b1 = 0.9, b2 = 0.999;
  Values p = t.p, m = t.m0, v = t.v0;
  for (size_t i = 0; i < p.size(); i++) {
    const double g = t.g[i] * factor + (decoupled ? 0 : decay * p[i]);
    m[i] = b1 * m[i] + (1 - b1) * g;
    v[i] = b2 * v[i] + (1 - b2) * g * g;
    p[i] = p[i] * (decoupled ? 1 - lr * decay : 1) -
           lr / (1 - std::pow(b1, 1200)) * m[i] / (std::sqrt(v[i]) / std::sqrt(1 - std::pow(b2, 1200)) + 1e-8f);
  }
  op::adamw::Params o{0.01f, 0.9f, 0.999f, 1e-8f, 0.05f, decoupled, 1200, 0.25f, 2};
  if (k.dynamic) o.lr = 7, o.weightDecay = 3, o.step = 1, o.invScale = 9;
  const std::vector<NsTensor> in = {t.param.tensor(),
                                    t.grad.tensor(),
                                    t.m.tensor(),
                                    t.v.tensor(),
                                    given(k.master ? &t.master : nullptr),
                                    t.stats.tensor(),
                                    given(k.dynamic ? &t.dynamic : nullptr)};
  check(runTensors(ops::adamw, o, in, nullptr).ok(), "adamw runs");
  expect(t.param, p, k.name("adamw"), 1e-6);
  if (k.master) expect(t.master, p, k.name("master of adamw"), 1e-6);
  expect(t.m, m, k.name("m"), 1e-6);
  expect(t.v, v, k.name("v"), 1e-6);
  const Values before = t.param.get();
  for (const Values& bad : {Values{1, 1}, Values{NAN, 0}, Values{1, NAN}}) {
    t.stats.set(bad);
    runTensors(ops::adamw, o, in, nullptr);
    check(t.param.get() == before, "a step that is skipped");
  }
}

void sgd(const Kind& k, bool nesterov, bool velocity) {
  Tensors t(k);
  const double momentum = velocity ? 0.9f : 0;
  Values p = t.p, m = t.m0;
  for (size_t i = 0; i < p.size(); i++) {
    const double g = t.g[i] * 0.25 + 0.05f * p[i];
    m[i] = momentum * m[i] + g;
    p[i] -= 0.01f * (nesterov ? g + momentum * m[i] : velocity ? m[i] : g);
  }
  op::sgd::Params o{0.01f, static_cast<float>(momentum), nesterov, 0.05f, 0.25f, 0};
  if (k.dynamic) o.lr = 7, o.weightDecay = 3, o.invScale = 9;
  const std::vector<NsTensor> in = {t.param.tensor(),
                                    t.grad.tensor(),
                                    given(velocity ? &t.m : nullptr),
                                    given(k.master ? &t.master : nullptr),
                                    NsTensor{},
                                    given(k.dynamic ? &t.dynamic : nullptr)};
  check(runTensors(ops::sgd, o, in, nullptr).ok(), "sgd runs");
  expect(t.param, p, k.name("sgd"), 1e-6);
  if (velocity) expect(t.m, m, k.name("velocity"), 1e-6);
}

// One step from zero moments: codes that decode to the moments as nearly as neighbours allow, and the parameter of adamw.
void adam8(const Kind& k, bool hole) {
  Tensors t(k), same(k);
  same.grad.set(t.g);
  if (k.master) same.master.set(t.p);
  if (!k.master) same.param.set(t.p);
  same.m.set(Values(t.p.size()));
  same.v.set(Values(t.p.size()));
  if (hole)
    t.grad.set([&] {
      Values g = t.g;
      g[1] = NAN;
      return g;
    }());
  const size_t n = static_cast<size_t>(k.n), blocks = (n + 255) / 256;
  Plain<uint8_t> m(std::vector<uint8_t>(n, 128), DType::u8), v(std::vector<uint8_t>(n, 0), DType::u8);
  Buffer mScale({static_cast<int64_t>(blocks)}, DType::f32), vScale({static_cast<int64_t>(blocks)}, DType::f32);
  mScale.random(rng);
  vScale.random(rng);
  const op::adamw::Params o{0.01f, 0.9f, 0.999f, 1e-8f, 0.05f, true, 1, 0.25f, 0};
  const op::adamw8::Params o8{0.01f, 0.9f, 0.999f, 1e-8f, 0.05f, true, 1, 0.25f, 0};
  const NsTensor none{}, d = given(k.dynamic ? &t.dynamic : nullptr);
  check(runTensors(
            ops::adamw, o,
            {same.param.tensor(), same.grad.tensor(), same.m.tensor(), same.v.tensor(), given(k.master ? &same.master : nullptr), none, d},
            nullptr)
            .ok(),
        "adamw runs");
  check(runTensors(ops::adamw8, o8,
                   {t.param.tensor(), t.grad.tensor(), m.tensor(), v.tensor(), mScale.tensor(), vScale.tensor(),
                    given(k.master ? &t.master : nullptr), none, d},
                   nullptr)
            .ok(),
        "adamw8 runs");
  const Values p = t.param.get(), q = same.param.get(), em = same.m.get(), ev = same.v.get(), sm = mScale.get(), sv = vScale.get();
  const std::vector<uint8_t> cm = m.get(), cv = v.get();
  bool params = t.param.guarded(), codes = mScale.guarded() && vScale.guarded();
  for (size_t i = 0; i < n; i++) {
    if (hole && i == 1) continue;
    params = params && p[i] == q[i];
    const double s = cm[i] - 128.0, c = cv[i], scaleM = sm[i / 256], scaleV = sv[i / 256];
    const double stepM = (std::abs(s) + 0.5) / (127.0 * 127), stepV = (c + 0.5) / (255.0 * 255);
    codes = codes && std::abs(s * std::abs(s) / 16129 * scaleM - em[i]) <= (stepM + 1e-6) * scaleM;
    codes = codes && std::abs(c * c / 65025 * scaleV - ev[i]) <= (stepV * (c == 1 ? 2 : 1) + 1e-6) * scaleV && (c > 0 || ev[i] == 0);
  }
  check(params, k.name("the parameters of adamw8").c_str());
  check(codes, k.name("the codes of adamw8").c_str());
}

}  // namespace

int main() {
  manyStats();
  for (const int64_t n : {1, 5, 256, 1030, 300001}) {
    for (const int shift : {0, 1}) {
      for (const bool dynamic : {false, true}) {
        adam({n, DType::f32, DType::f32, false, dynamic, shift}, dynamic);
        adam({n, DType::bf16, DType::f16, true, dynamic, shift}, true);
        sgd({n, DType::f32, DType::bf16, false, dynamic, shift}, dynamic, true);
        sgd({n, DType::f16, DType::f32, true, dynamic, shift}, false, dynamic);
        adam8({n, DType::f32, DType::f32, false, dynamic, shift}, n > 1000);
        adam8({n, DType::bf16, DType::bf16, true, dynamic, shift}, false);
      }
    }
  }
  return ns::test::finish();
}

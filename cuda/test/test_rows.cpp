// softmax, l2_normalize, layer_norm, cross_entropy and their gradients against plain double loops: rows of a warp, of a block and longer
// than what threads hold, aligned or not, every dtype, limits; and what a wrong target leaves behind.
#include "cuda/test/device_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {

using Values = std::vector<double>;

std::mt19937 rng(5);

// The bits of an i32 tensor in a buffer whose values are not looked at.
struct Ints {
  void* data = nullptr;
  int64_t n;
  explicit Ints(const std::vector<int32_t>& v) : n(static_cast<int64_t>(v.size())) {
    cudaMalloc(&data, v.size() * 4);
    cudaMemcpy(data, v.data(), v.size() * 4, cudaMemcpyHostToDevice);
  }
  ~Ints() { cudaFree(data); }
  NsTensor tensor() const { return {data, static_cast<int32_t>(DType::i32), 1, {n}}; }
};

template <class P>
Status runTensors(Status (*op)(const Context&, const NsCall&, const P&), const P& p, std::vector<NsTensor> in, const Buffer& out) {
  const NsTensor to = out.tensor();
  const NsCall call{TestDevice::kOp, static_cast<int32_t>(in.size()), 1, in.data(), &to, &p};
  return op(device.context(), call, p);
}

void expect(Buffer& b, const Values& want, const std::string& what, double tolerance) {
  const Values got = b.get();
  const double e = errorOf(got, want), limit = tolerance + roundingOf(b.type());
  check(e <= limit && b.guarded(), what.c_str(), "error " + std::to_string(e / limit) + " of what is allowed");
}

std::string name(const char* op, int64_t rows, int64_t n, int shift, const char* more = "") {
  return std::string(op) + " " + std::to_string(rows) + "x" + std::to_string(n) + " shift " + std::to_string(shift) + " " + more;
}

void softmaxes(int64_t rows, int64_t n, int shift) {
  Buffer x({rows, n}, DType::f32, shift), y({rows, n}, DType::f32, shift), dy({rows, n}, DType::f32), dx({rows, n}, DType::f32, shift);
  const Values v = x.random(rng), g = dy.random(rng);
  Values p(v.size()), d(v.size()), u(v.size()), du(v.size());
  for (int64_t r = 0; r < rows; r++) {
    double sum = 0, dot = 0, squares = 0, along = 0;
    for (int64_t i = r * n; i < (r + 1) * n; i++) {
      sum += std::exp(3 * v[i]);
      squares += v[i] * v[i];
      along += v[i] * g[i];
    }
    for (int64_t i = r * n; i < (r + 1) * n; i++) dot += (p[i] = std::exp(3 * v[i]) / sum) * g[i];
    const double norm = std::sqrt(squares);
    for (int64_t i = r * n; i < (r + 1) * n; i++) {
      d[i] = 3 * p[i] * (g[i] - dot);
      u[i] = v[i] / norm;
      du[i] = (g[i] - v[i] * along / squares) / norm;
    }
  }
  const Context ctx = device.context();
  check(run(ctx, ops::softmax, {3}, {&x}, {&y}).ok(), "softmax runs");
  expect(y, p, name("softmax", rows, n, shift), 1e-6);
  check(run(ctx, ops::softmax_grad, {3}, {&y, &dy}, {&dx}).ok(), "softmax_grad runs");
  expect(dx, d, name("softmax_grad", rows, n, shift), 1e-6);
  check(run(ctx, ops::l2_normalize, {1e-12f}, {&x}, {&y}).ok(), "l2_normalize runs");
  expect(y, u, name("l2_normalize", rows, n, shift), 1e-6);
  check(run(ctx, ops::l2_normalize_grad, {1e-12f}, {&x, &dy}, {&dx}).ok(), "l2_normalize_grad runs");
  expect(dx, du, name("l2_normalize_grad", rows, n, shift), 2e-6);
}

void layerNorms(int64_t B, int64_t l, int64_t n, int shift, DType type, DType other, bool shared) {
  const double eps = 1e-6;
  const int64_t Bm = shared ? 1 : B;
  Buffer x({B, l, n}, type, shift), y({B, l, n}, other, shift), dy({B, l, n}, other), dx({B, l, n}, type, shift);
  Buffer mod({Bm, 3, n}, DType::f32, shift), dMod({Bm, 3, n}, DType::f32, shift);
  Values v = x.random(rng);
  for (double& a : v) a = a * 0.5 + 4;  // a mean that matters
  v = x.set(v);
  const Values g = dy.random(rng), m = mod.random(rng), old = dMod.random(rng);
  Values want(v.size()), d(v.size()), dm = old;
  for (int64_t r = 0; r < B * l; r++) {
    const double* a = &v[static_cast<size_t>(r * n)];
    const int64_t scale = ((shared ? 0 : r / l) * 3 + 2) * n, plus = scale - n;
    double mean = 0, variance = 0, level = 0, slope = 0;
    for (int64_t i = 0; i < n; i++) mean += a[i] / static_cast<double>(n);
    for (int64_t i = 0; i < n; i++) variance += (a[i] - mean) * (a[i] - mean) / static_cast<double>(n);
    const double rstd = 1 / std::sqrt(variance + eps);
    for (int64_t i = 0; i < n; i++) {
      const double xh = (a[i] - mean) * rstd, inner = g[r * n + i] * (1 + m[scale + i]);
      want[r * n + i] = xh * (1 + m[scale + i]) + m[plus + i];
      level += inner / static_cast<double>(n);
      slope += inner * xh / static_cast<double>(n);
      dm[scale + i] += g[r * n + i] * xh;
      dm[plus + i] += g[r * n + i];
    }
    for (int64_t i = 0; i < n; i++) d[r * n + i] = rstd * (g[r * n + i] * (1 + m[scale + i]) - level - (a[i] - mean) * rstd * slope);
  }
  const std::string kind = name("", B * l, n, shift, dtypeName(type)) + " " + dtypeName(other);
  const float e = static_cast<float>(eps);
  check(run(device.context(), ops::layer_norm, {e, 2, 1, other}, {&x, &mod}, {&y}).ok(), "layer_norm runs");
  expect(y, want, "layer_norm" + kind, 2e-6);
  check(run(device.context(), ops::layer_norm_grad, {e, 2, 1}, {&x, &dy, &mod, &dMod}, {&dx}).ok(), "layer_norm_grad runs");
  if (n > 1) expect(dx, d, "layer_norm_grad" + kind, 4e-6);  // of one value: a difference of equal numbers
  expect(dMod, dm, "dMod" + kind, 4e-6);
}

void entropies(int64_t rows, int64_t n, int shift, DType type) {
  const double smooth = 0.1f;
  Buffer x({rows, n}, type, shift), loss({rows}, DType::f32, shift), dLoss({rows}, DType::f32), dx({rows, n}, type, shift);
  const Values v = x.random(rng), g = dLoss.random(rng);
  std::vector<int32_t> target;
  Values want, d(v.size());
  for (int64_t r = 0; r < rows; r++) {
    target.push_back(static_cast<int32_t>(rng() % static_cast<unsigned>(n)));
    double sum = 0, mean = 0;
    for (int64_t i = r * n; i < (r + 1) * n; i++) sum += std::exp(v[i]);
    for (int64_t i = r * n; i < (r + 1) * n; i++) {
      const double log = v[i] - std::log(sum), hit = i == r * n + target.back();
      mean += log / static_cast<double>(n);
      d[i] = g[r] * (std::exp(log) - smooth / static_cast<double>(n) - hit * (1 - smooth));
    }
    want.push_back(-(1 - smooth) * (v[r * n + target.back()] - std::log(sum)) - smooth * mean);
  }
  const Ints t(target);
  const op::cross_entropy::Params p{0.1f};
  check(runTensors(ops::cross_entropy, p, {x.tensor(), t.tensor()}, loss).ok(), "cross_entropy runs");
  expect(loss, want, name("cross_entropy", rows, n, shift, dtypeName(type)), 2e-6);
  const op::cross_entropy_grad::Params q{0.1f};
  check(runTensors(ops::cross_entropy_grad, q, {x.tensor(), t.tensor(), dLoss.tensor()}, dx).ok(), "cross_entropy_grad runs");
  expect(dx, d, name("cross_entropy_grad", rows, n, shift, dtypeName(type)), 2e-6);
  check(device.takeError().code == 0, "good targets are no error");
}

void wrongTargets() {
  Buffer x({3, 70}, DType::f32), loss({3}, DType::f32), dLoss({3}, DType::f32), dx({3, 70}, DType::f32);
  x.random(rng);
  dLoss.random(rng);
  for (const int32_t bad : {-1, 70, INT32_MAX, INT32_MIN}) {
    const Ints t({69, bad, 0});
    runTensors(ops::cross_entropy, op::cross_entropy::Params{0}, {x.tensor(), t.tensor()}, loss);
    const DeviceError e = device.takeError();
    const Values l = loss.get();
    check(e.code == NS_INDEX && e.op == TestDevice::kOp && e.at == 1 && e.value == bad, "a wrong target is told");
    check(std::isnan(l[1]) && l[0] > 0 && l[2] > 0 && loss.guarded(), "its loss is NaN, the others are not");
    runTensors(ops::cross_entropy_grad, op::cross_entropy_grad::Params{0}, {x.tensor(), t.tensor(), dLoss.tensor()}, dx);
    const Values d = dx.get();
    bool nan = true, others = true;
    for (int i = 0; i < 70; i++) {
      nan = nan && std::isnan(d[70 + i]);
      others = others && !std::isnan(d[i]) && !std::isnan(d[140 + i]);
    }
    check(nan && others && device.takeError().at == 1 && dx.guarded(), "the gradient of its row is NaN");
  }
}

void limits() {
  const double inf = INFINITY;
  Buffer x({5, 3}, DType::f32), y({5, 3}, DType::f32);
  x.set({1, NAN, 2, inf, 0, 1, -inf, -inf, -inf, -inf, 0, 0, 3e38, -3e38, 3e38});
  run(device.context(), ops::softmax, {1}, {&x}, {&y});
  const Values v = y.get();
  for (int i = 0; i < 9; i++) check(std::isnan(v[i]), "softmax of NaN, +inf or -inf only is NaN");
  check(v[9] == 0 && v[10] == 0.5 && v[12] == 0.5 && v[13] == 0, "softmax of large values");
  x.set({0, 0, 0, 1e-13, 0, 0, NAN, 1, 1, 3, 4, 0, -1, 0, 0});
  run(device.context(), ops::l2_normalize, {1e-12f}, {&x}, {&y});
  const Values u = y.get();
  check(u[0] == 0 && std::abs(u[3] - 0.1) < 1e-6 && std::isnan(u[7]) && std::abs(u[9] - 0.6) < 1e-6, "l2_normalize at its limits");
  Buffer none({0, 4, 8}, DType::f32), out({0, 4, 8}, DType::f32);
  check(run(device.context(), ops::softmax, {1}, {&none}, {&out}).ok(), "no rows");
  check(run(device.context(), ops::layer_norm, {1e-6f, 0, 1, DType::f32}, {&none, nullptr}, {&out}).ok(), "no images");
}

}  // namespace

int main() {
  for (const int64_t n : {1, 3, 33, 512, 516, 1030, 4096, 16388, 20003}) {
    for (const int shift : {0, 1}) {
      softmaxes(n < 1000 ? 7 : 2, n, shift);
      entropies(n < 1000 ? 7 : 2, n, shift, DType::f32);
      entropies(n < 1000 ? 7 : 2, n, shift, DType::bf16);
      layerNorms(2, n < 1000 ? 37 : 2, n, shift, DType::f32, DType::f32, shift == 0);
    }
  }
  for (const DType a : {DType::f32, DType::f16, DType::bf16}) {
    for (const DType b : {DType::f32, DType::f16, DType::bf16}) {
      layerNorms(3, 5, 64, 0, a, b, false);
      layerNorms(1, 300, 30, 1, a, b, true);
    }
  }
  wrongTargets();
  limits();
  return ns::test::finish();
}

// group_norm and its gradient against plain double loops: groups across quads, more channels than threads, large maps and single
// positions, a mean that matters, every dtype; the same bits alone as in a batch.
#include "cuda/test/device_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {

using Values = std::vector<double>;

std::mt19937 rng(6);

struct Case {
  int64_t B, h, w, C;
  int G;
  bool silu;
  DType x, other;  // other: of y and dy
  int shift;
  double mean;
  std::string name() const {
    return std::to_string(B) + "x" + std::to_string(h) + "x" + std::to_string(w) + "x" + std::to_string(C) + " groups " +
           std::to_string(G) + (silu ? " silu " : " ") + dtypeName(x) + " " + dtypeName(other) + " shift " + std::to_string(shift);
  }
};

struct Want {
  Values y, dx, dGamma, dBeta;
};

// One group of one image; index lists its elements.
void referenceGroup(const Case& c, const std::vector<size_t>& index, const Values& x, const Values& dy, const Values& gamma,
                    const Values& beta, Want& want) {
  const double n = static_cast<double>(index.size());
  const size_t C = static_cast<size_t>(c.C);
  double mean = 0, variance = 0, level = 0, slope = 0;
  for (size_t i : index) mean += x[i] / n;
  for (size_t i : index) variance += (x[i] - mean) * (x[i] - mean) / n;
  const double rstd = 1 / std::sqrt(variance + 1e-6f);
  Values dz;
  for (size_t i : index) {
    const double xh = (x[i] - mean) * rstd, z = xh * gamma[i % C] + beta[i % C], s = 1 / (1 + std::exp(-z));
    want.y[i] = c.silu ? z * s : z;
    dz.push_back(c.silu ? dy[i] * s * (1 + z * (1 - s)) : dy[i]);
    level += dz.back() * gamma[i % C] / n;
    slope += dz.back() * gamma[i % C] * xh / n;
    want.dGamma[i % C] += dz.back() * xh;
    want.dBeta[i % C] += dz.back();
  }
  for (size_t k = 0; k < index.size(); k++) {
    const size_t i = index[k];
    want.dx[i] = rstd * (dz[k] * gamma[i % C] - level - (x[i] - mean) * rstd * slope);
  }
}

void reference(const Case& c, const Values& x, const Values& dy, const Values& gamma, const Values& beta, Want& want) {
  const int64_t P = c.h * c.w, width = c.C / c.G;
  for (int64_t b = 0; b < c.B; b++) {
    for (int64_t g = 0; g < c.G; g++) {
      std::vector<size_t> index;
      for (int64_t p = 0; p < P; p++) {
        for (int64_t k = 0; k < width; k++) index.push_back(static_cast<size_t>((b * P + p) * c.C + g * width + k));
      }
      referenceGroup(c, index, x, dy, gamma, beta, want);
    }
  }
}

void expect(Buffer& b, const Values& want, const std::string& what, double tolerance) {
  const double e = errorOf(b.get(), want), limit = tolerance + roundingOf(b.type());
  check(e <= limit && b.guarded(), what.c_str(), "error " + std::to_string(e / limit) + " of what is allowed");
}

// The first image alone must give what it gives in the batch.
void alone(const Case& c, const Buffer& x, const Buffer& gamma, const Buffer& beta, Buffer& y) {
  Buffer one({1, c.h, c.w, c.C}, c.other, c.shift);
  const NsTensor in[] = {x.tensor(), gamma.tensor(), beta.tensor()}, out = one.tensor();
  NsTensor first[] = {in[0], in[1], in[2]};
  first[0].dims[0] = 1;
  const op::group_norm::Params p{c.G, 1e-6f, c.silu, c.other};
  ops::group_norm(device.context(), NsCall{0, 3, 1, first, &out, &p}, p);
  const Values all = y.get(), got = one.get();
  bool same = true;
  for (size_t i = 0; i < got.size(); i++) same = same && got[i] == all[i];
  check(same, "an image alone", c.name());
}

void both(const Case& c) {
  const std::vector<int64_t> shape = {c.B, c.h, c.w, c.C};
  Buffer x(shape, c.x, c.shift), y(shape, c.other, c.shift), dy(shape, c.other, c.shift), dx(shape, c.x, c.shift);
  Buffer gamma({c.C}, DType::f32, c.shift), beta({c.C}, DType::f32), dGamma({c.C}, DType::f32), dBeta({c.C}, DType::f32, c.shift);
  Values v = x.random(rng);
  for (double& a : v) a += c.mean;
  v = x.set(v);
  const Values d = dy.random(rng), ga = gamma.random(rng), be = beta.random(rng);
  Want want{Values(v.size()), Values(v.size()), dGamma.random(rng), dBeta.random(rng)};
  reference(c, v, d, ga, be, want);
  // What a large mean costs is the rounding of x - mean.
  const double more = 1e-7 * std::abs(c.mean);
  const op::group_norm::Params p{c.G, 1e-6f, c.silu, c.other};
  check(run(device.context(), ops::group_norm, p, {&x, &gamma, &beta}, {&y}).ok(), "group_norm runs", c.name());
  expect(y, want.y, "group_norm " + c.name(), 2e-6 + more);
  alone(c, x, gamma, beta, y);
  const op::group_norm_grad::Params q{c.G, 1e-6f, c.silu};
  check(run(device.context(), ops::group_norm_grad, q, {&x, &dy, &gamma, &beta, &dGamma, &dBeta}, {&dx}).ok(), "group_norm_grad runs",
        c.name());
  if (c.h * c.w * (c.C / c.G) > 1) expect(dx, want.dx, "group_norm_grad " + c.name(), 5e-6 + more);
  expect(dGamma, want.dGamma, "dGamma " + c.name(), 5e-6 + more);
  expect(dBeta, want.dBeta, "dBeta " + c.name(), 5e-6 + more);
}

void limits() {
  Buffer x({1, 2, 2, 4}, DType::f32), gamma({4}, DType::f32), beta({4}, DType::f32), y({1, 2, 2, 4}, DType::f32);
  gamma.set({1, 1, 1, 1});
  beta.set({1, 2, 3, 4});
  Values v(16, 7);
  x.set(v);
  run(device.context(), ops::group_norm, {2, 1e-6f, 0, DType::f32}, {&x, &gamma, &beta}, {&y});
  check(y.get()[5] == 2, "equal values become beta");
  v[4] = NAN;
  x.set(v);
  run(device.context(), ops::group_norm, {2, 1e-6f, 0, DType::f32}, {&x, &gamma, &beta}, {&y});
  const Values u = y.get();
  check(std::isnan(u[0]) && std::isnan(u[13]) && u[2] == 3 && u[15] == 4, "NaN stays in its group");
  const Status s = run(device.context(), ops::group_norm, {3, 1e-6f, 0, DType::f32}, {&x, &gamma, &beta}, {&y});
  check(s.code == NS_INVALID, "groups that do not divide", s.message);
}

}  // namespace

int main() {
  const DType f32 = DType::f32, f16 = DType::f16, bf16 = DType::bf16;
  for (const int shift : {0, 1}) {
    both({2, 5, 7, 64, 32, true, f32, f32, shift, 0});
    both({2, 24, 24, 160, 32, true, f32, f32, shift, 0.5});
    both({1, 100, 90, 20, 5, false, f32, f32, shift, 0});
    both({2, 3, 3, 6, 3, true, f32, f32, shift, 0});
    both({3, 1, 1, 33, 33, false, f32, f32, shift, 0});
    both({2, 1, 1, 32, 4, true, f32, f32, shift, 0});
    both({1, 6, 6, 1100, 10, true, f32, f32, shift, 0});
    both({1, 3, 2, 2052, 1, false, f32, f32, shift, 0});
    both({2, 8, 9, 1, 1, true, f32, f32, shift, 0});
    both({1, 40, 40, 48, 8, false, f32, f32, shift, 100});
    both({1, 80, 77, 160, 32, true, f32, f32, shift, 20});
  }
  for (const DType a : {f32, f16, bf16}) {
    for (const DType b : {f32, f16, bf16}) both({2, 9, 9, 40, 4, true, a, b, 0, 0});
  }
  limits();
  return ns::test::finish();
}

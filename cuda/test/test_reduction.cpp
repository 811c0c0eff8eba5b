// Reductions, gates and losses against plain double loops: rows of a warp, of a block and of several segments, columns, every dtype, NaN;
// an output has the same bits in any batch.
#include "cuda/test/device_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {
using Values = std::vector<double>;
using Fn = op::reduce::Fn;

std::mt19937 rng(11);

Values reduced(Fn fn, const Values& x, int64_t outer, int64_t n, int64_t inner) {
  Values y;
  for (int64_t o = 0; o < outer * inner; o++) {
    double sum = 0, best = 0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
      const double v = x[static_cast<size_t>((o / inner * n + i) * inner + o % inner)];
      sum += v;
      const bool better = fn == Fn::min ? v < best : v > best;
      if (i == 0 || (!std::isnan(best) && (std::isnan(v) || better))) {
        best = v;
        at = i;
      }
    }
    y.push_back(fn == Fn::sum ? sum : fn == Fn::mean ? sum / static_cast<double>(n) : fn == Fn::argmax ? static_cast<double>(at) : best);
  }
  return y;
}

Values ints(Buffer& b) {
  std::vector<int32_t> v(static_cast<size_t>(b.count()));
  cudaMemcpy(v.data(), b.data(), v.size() * 4, cudaMemcpyDeviceToHost);
  return Values(v.begin(), v.end());
}

bool equal(const Values& a, const Values& b) {
  for (size_t i = 0; i < b.size(); i++) {
    if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return a.size() == b.size();
}

void reduces(int64_t outer, int64_t n, int64_t inner, int shift) {
  Buffer x({outer, n, inner}, DType::f32, shift), y({outer, inner}, DType::f32, shift);
  Values v = x.random(rng);
  for (double& e : v) e = std::round(e * 40) / 8;  // equal values
  const std::string shape =
      std::to_string(outer) + "x" + std::to_string(n) + "x" + std::to_string(inner) + " shift " + std::to_string(shift);
  for (const bool nan : {false, true}) {
    if (nan) v[static_cast<size_t>(n * inner / 2)] = v.back() = NAN;
    x.set(v);
    for (const Fn fn : {Fn::sum, Fn::mean, Fn::max, Fn::min, Fn::argmax}) {
      const Values want = reduced(fn, v, outer, n, inner);
      check(run(device.context(), ops::reduce, {fn, 1}, {&x}, {&y}).ok(), "reduce runs");
      Values got = y.get();
      if (fn == Fn::argmax) got = ints(y);
      const bool exact = fn != Fn::sum && fn != Fn::mean;
      check(y.guarded() && (exact || nan ? !exact || equal(got, want) : errorOf(got, want) < 1e-7), "reduce", shape);
    }
  }
}

// The sums of the first item are the same bits whether or not there are others.
void batches(std::vector<int64_t> dims, std::vector<int64_t> kept) {
  std::vector<int64_t> one = dims, oneKept = kept;
  one[0] = oneKept[0] = 1;
  Buffer all(dims, DType::f32), single(one, DType::f32), y(kept, DType::f32), z(oneKept, DType::f32);
  const Values v = all.random(rng);
  single.set(Values(v.begin(), v.begin() + single.count()));
  run(device.context(), ops::sum_to, {}, {&all}, {&y});
  run(device.context(), ops::sum_to, {}, {&single}, {&z});
  const Values a = y.get();
  check(equal(z.get(), Values(a.begin(), a.begin() + z.count())), "sum_to of an item alone");
}

void sums(std::vector<int64_t> dims, std::vector<int64_t> kept, DType type, int shift) {
  Buffer x(dims, type, shift), y(kept, type, shift);
  const Values v = x.random(rng);
  Values want(static_cast<size_t>(y.count()));
  for (size_t i = 0; i < v.size(); i++) {
    int64_t rest = static_cast<int64_t>(i), at = 0, step = 1;
    for (size_t d = 0; d < dims.size(); d++) {
      const int64_t n = dims[dims.size() - 1 - d], own = d < kept.size() ? kept[kept.size() - 1 - d] : 1;
      if (own != 1) at += rest % n * step;
      step *= own;
      rest /= n;
    }
    want[static_cast<size_t>(at)] += v[i];
  }
  check(run(device.context(), ops::sum_to, {}, {&x}, {&y}).ok(), "sum_to runs");
  const Values got = y.get();
  check(y.guarded() && errorOf(got, want) <= 1e-7 + roundingOf(type), "sum_to", std::to_string(dims[0]) + " " + dtypeName(type));
}

void gates(int64_t B, int64_t l, int64_t N, DType a, DType b, bool shared, int shift) {
  const int64_t Bg = shared ? 1 : B;
  Buffer x({B, l, N}, a, shift), r({B, l, N}, b), y({B, l, N}, b, shift), dx({B, l, N}, a), gate({Bg, 3, N}, DType::f32),
      dGate({Bg, 3, N}, DType::f32);
  const Values v = x.random(rng), w = r.random(rng), g = gate.random(rng), old = dGate.random(rng);
  Values want(v.size()), d(v.size()), sum = old;
  for (int64_t i = 0; i < x.count(); i++) {
    const size_t k = static_cast<size_t>(i), at = static_cast<size_t>(((shared ? 0 : i / (l * N)) * 3 + 2) * N + i % N);
    want[k] = w[k] + g[at] * v[k];
    d[k] = w[k] * g[at];
    sum[at] += v[k] * w[k];
  }
  check(run(device.context(), ops::gate_residual, {2, b}, {&x, &gate, &r}, {&y}).ok(), "gate_residual runs");
  check(errorOf(y.get(), want) <= 1e-6 + roundingOf(b) && y.guarded(), "gate_residual");
  check(run(device.context(), ops::gate_residual_grad, {2}, {&x, &r, &gate, &dGate}, {&dx}).ok(), "gate_residual_grad runs");
  check(errorOf(dx.get(), d) <= 1e-6 + roundingOf(a) && dx.guarded(), "dx of gate_residual_grad");
  check(errorOf(dGate.get(), sum) <= 1e-6 && dGate.guarded(), "dGate", std::to_string(l) + "x" + std::to_string(N));
}

void losses(int64_t n, int shift) {
  using Kind = op::pair_loss::Kind;
  Buffer x({n}, DType::f32, shift), y({n}, DType::f32), loss({1}, DType::f32), dLoss({1}, DType::f32), dx({n}, DType::f32);
  const Values u = x.random(rng), v = y.random(rng), s = dLoss.set({0.75});
  for (const Kind kind : {Kind::l1, Kind::l2}) {
    double sum = 0;
    Values d(u.size());
    for (size_t i = 0; i < u.size(); i++) {
      const double e = u[i] - v[i], k = 0.75 / static_cast<double>(n);
      sum += kind == Kind::l1 ? std::abs(e) : e * e;
      d[i] = k * (kind == Kind::l1 ? (e > 0) - (e < 0) : 2 * e);
    }
    check(run(device.context(), ops::pair_loss, {kind}, {&x, &y}, {&loss}).ok(), "pair_loss runs");
    check(errorOf(loss.get(), {sum / static_cast<double>(n)}) < 1e-7 && loss.guarded(), "pair_loss", std::to_string(n));
    check(run(device.context(), ops::pair_loss_grad, {static_cast<op::pair_loss_grad::Kind>(kind)}, {&x, &y, &dLoss}, {&dx}).ok(),
          "its gradient runs");
    check(errorOf(dx.get(), d) < 1e-6 && dx.guarded(), "pair_loss_grad", std::to_string(n));
  }
}
}  // namespace

int main() {
  for (const int64_t n : {1, 2, 31, 37, 1024, 1025, 8192, 8193, 20001}) {
    for (const int shift : {0, 1}) reduces(n > 5000 ? 2 : 9, n, 1, shift);
  }
  for (const int64_t n : {1, 3, 31, 32, 255, 256, 257, 700}) {
    for (const int64_t inner : {2, 4, 33, 72}) reduces(2, n, inner, static_cast<int>(n % 2));
  }
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    sums({2, 3, 33}, {3, 1}, t, 0);
    sums({600, 40}, {40}, t, 0);
    sums({600, 40}, {40}, t, 1);
    sums({5, 2, 3, 4, 700}, {5, 1, 3, 1, 1}, t, 0);
    sums({3, 9000}, {1}, t, 1);
    sums({3, 4, 300, 5}, {3, 1, 300, 1}, t, 0);
    for (const DType u : {DType::f32, DType::f16, DType::bf16}) gates(2, 150, 40, t, u, false, 0);
    gates(3, 70, 37, t, DType::f32, true, 1);
    gates(2, 64, 136, t, DType::bf16, true, 0);
  }
  batches({5, 300, 24}, {5, 1, 24});
  batches({5, 20000}, {5, 1});
  for (const int64_t n : {1, 3, 1000, 8192, 8195, 70001}) {
    losses(n, 0);
    losses(n, 1);
  }
  return ns::test::finish();
}

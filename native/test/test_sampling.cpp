#include <algorithm>
#include <numeric>

#include "native/abi/random.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;

namespace {

// Top-k, then top-p, with a stable sort of the whole row in f64.
std::vector<float> truncated(const float* x, int64_t V, int k, double p) {
  std::vector<float> y(x, x + V);
  if (k > 0 && k < V) {
    std::vector<float> s(y);
    std::sort(s.begin(), s.end(), std::greater<float>());
    for (float& v : y) v = v < s[static_cast<size_t>(k - 1)] ? -INFINITY : v;
  }
  if (p > 0) {
    std::vector<size_t> order(y.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return y[a] < y[b]; });
    const double top = y[order.back()];
    double total = 0, sum = 0;
    for (float v : y) total += std::exp(v - top);
    for (size_t i = 0; i + 1 < order.size(); i++) {
      sum += std::exp(y[order[i]] - top) / total;
      if (sum <= 1 - p) y[order[i]] = -INFINITY;
    }
  }
  return y;
}

struct Row {
  int k;
  float p;
};

// Ties, one dominating logit, -inf and plain random rows.
Tensor logitsOf(int64_t B, int64_t l, int64_t V, uint64_t seed) {
  Rng rng(seed);
  return Tensor({B, l, V}).fill([&](int64_t i) {
    const int64_t row = i / V;
    const double v = 2.5 * rng.normal();
    if (row % 5 == 1) return std::round(v);
    if (row % 5 == 2 && i % 3 == 0) return -static_cast<double>(INFINITY);
    if (row % 5 == 3) return i % V == V / 2 ? 60.0 : v;
    return v;
  });
}

void truncation(const char* target) {
  for (int64_t V : {1, 24, 67, 4096}) {
    for (const Row& q : {Row{0, 0}, {0, 0.3f}, {0, 0.95f}, {1, 0}, {5, 0.95f}, {900, 0.95f}, {5, 0}, {100000, 1}, {12, 1e-6f}}) {
      const int64_t B = 2, l = 5;
      Tensor x = logitsOf(B, l, V, 5 + static_cast<uint64_t>(V)), y({B, l, V}), z({B, l, V});
      Tensor k = Tensor({B}, DType::i32).fill([&](int64_t) { return q.k; }), p = Tensor({B}).fill([&](int64_t) { return q.p; });
      const op::truncate_logits::Params none = {};
      check(run(1, cpu::kernels::truncate_logits, none, {&x, &k, &p}, {&y}).ok(), "truncate_logits status");
      run(3, cpu::kernels::truncate_logits, none, {&x, &k, &p}, {&z});
      check(same(y, z), "truncate_logits: same bits for every thread count", target);
      bool equal = true;
      for (int64_t r = 0; r < B * l; r++) {
        const std::vector<float> want = truncated(x.as<float>() + r * V, V, q.k, q.p);
        equal &= !std::memcmp(want.data(), y.as<float>() + r * V, static_cast<size_t>(V) * 4);
      }
      check(equal, "truncate_logits",
            std::string(target) + " V " + std::to_string(V) + " k " + std::to_string(q.k) + " p " + std::to_string(q.p));
    }
  }
}

// The fused op against the chain of single ops, and every row alone against the batch.
void fused(const char* target) {
  for (int64_t V : {24, 131, 4096}) {
    const int64_t B = 3, l = 7;
    Rng rng(static_cast<uint64_t>(V));
    Tensor x = Tensor({2 * B, l, V}).normal(rng, 2), t = Tensor({B}).fill([](int64_t i) { return 1.5 * static_cast<double>(i); });
    Tensor k = Tensor({B}, DType::i32).fill([&](int64_t i) { return i == 0 ? 0 : 900 % V; });
    Tensor p = Tensor({B}).fill([](int64_t i) { return i == 2 ? 0.0 : 0.9; });
    Tensor seed = Tensor({B, 3}, DType::i32).fill([](int64_t i) { return static_cast<double>(17 * i); });
    Tensor mixed({B, l, V}), cut({B, l, V}), probs({B, l, V}), want({B, l}, DType::i32), got({B, l}, DType::i32), alone({1, l}, DType::i32);
    const op::sample_cfg::Params sp = {4};
    run(2, cpu::kernels::cfg_mix, op::cfg_mix::Params{}, {&x, &t}, {&mixed});
    bool mixOk = true;
    for (int64_t i = 0; i < B * l * V; i++) {
      const float tt = t.as<float>()[i / (l * V)], a = (1.0f + tt) * x.as<float>()[i], b = tt * x.as<float>()[i + B * l * V];
      mixOk &= mixed.as<float>()[i] == a - b;
    }
    check(mixOk, "cfg_mix", target);
    run(2, cpu::kernels::truncate_logits, op::truncate_logits::Params{}, {&mixed, &k, &p}, {&cut});
    run(2, cpu::kernels::softmax, op::softmax::Params{1}, {&cut}, {&probs});
    run(2, cpu::kernels::multinomial, op::multinomial::Params{4}, {&probs, &seed}, {&want});
    for (int threads : {1, 3}) {
      check(run(threads, cpu::kernels::sample_cfg, sp, {&x, &t, &k, &p, &seed}, {&got}).ok(), "sample_cfg status");
      check(same(want, got), "sample_cfg equals the chain", target);
    }
    // Image 1 alone.
    Tensor x1({2, l, V}), t1 = Tensor({1}).fill([](int64_t) { return 1.5; }), k1({1}, DType::i32), p1({1}), s1({1, 3}, DType::i32);
    const size_t image = static_cast<size_t>(l * V);
    std::memcpy(x1.data(), x.as<float>() + image, image * 4);
    std::memcpy(x1.as<float>() + image, x.as<float>() + (static_cast<size_t>(B) + 1) * image, image * 4);
    k1.as<int32_t>()[0] = k.as<int32_t>()[1];
    p1.as<float>()[0] = p.as<float>()[1];
    std::memcpy(s1.data(), seed.as<int32_t>() + 3, 12);
    run(2, cpu::kernels::sample_cfg, sp, {&x1, &t1, &k1, &p1, &s1}, {&alone});
    check(!std::memcmp(alone.data(), got.as<int32_t>() + l, alone.bytes), "sample_cfg: alone equals inside a batch", target);
  }
}

void draws() {
  // Frequencies, and the definition: first index whose running sum passes u * total.
  const int64_t l = 40000, V = 70;
  Rng rng(3);
  Tensor probs = Tensor({1, l, V}).fill([](int64_t i) { return i % V % 7 == 0 ? 0.0 : static_cast<double>(i % V); });
  Tensor seed = Tensor({1, 3}, DType::i32).fill([](int64_t i) { return static_cast<double>(i + 1); }), idx({1, l}, DType::i32);
  check(run(2, cpu::kernels::multinomial, op::multinomial::Params{2}, {&probs, &seed}, {&idx}).ok(), "multinomial status");
  double total = 0;
  for (int64_t v = 0; v < V; v++) total += probs.as<float>()[v];
  std::vector<int> hits(static_cast<size_t>(V));
  bool exact = true;
  for (int64_t i = 0; i < l; i++) {
    const double u = ns::philoxUniform(ns::philox(1, 2, {{static_cast<uint32_t>(i), 2, 3, 0}}).w[0]);
    double sum = 0;
    int64_t v = 0;
    while (v < V && (sum += probs.as<float>()[v]) <= u * total) v++;
    exact &= v == idx.as<int32_t>()[i];
    hits[static_cast<size_t>(idx.as<int32_t>()[i])]++;
  }
  check(exact, "multinomial: definition");
  double chi = 0;
  for (int64_t v = 0; v < V; v++) {
    const double e = probs.as<float>()[v] / total * static_cast<double>(l), h = hits[static_cast<size_t>(v)];
    if (e == 0) check(h == 0, "multinomial: zero probability is never drawn");
    if (e > 0) chi += (h - e) * (h - e) / e;
  }
  check(chi < 110, "multinomial: frequencies", std::to_string(chi));

  const auto status = [&](std::vector<float> row) {
    Tensor p({1, 1, 3}), s = Tensor({1, 3}, DType::i32).fill([](int64_t) { return 0; }), one({1, 1}, DType::i32);
    std::memcpy(p.data(), row.data(), 12);
    return run(1, cpu::kernels::multinomial, op::multinomial::Params{0}, {&p, &s}, {&one}).code;
  };
  check(status({0, 0, 0}) == NS_INVALID && status({NAN, 1, 1}) == NS_INVALID && status({1, -1, 1}) == NS_INVALID &&
            status({1, INFINITY, 1}) == NS_INVALID,
        "multinomial: what is no distribution");
  check(status({0, 1e-40f, 0}) == NS_OK, "multinomial: subnormal mass");
}

void badLogits() {
  for (float bad : {NAN, INFINITY}) {
    Rng rng(1);
    Tensor x = Tensor({2, 3, 33}).normal(rng), t = Tensor({1}).fill([](int64_t) { return 0.5; }), k({1}, DType::i32),
           p = Tensor({1}).fill([](int64_t) { return 0.9; });
    k.as<int32_t>()[0] = 5;
    Tensor seed = Tensor({1, 3}, DType::i32).fill([](int64_t) { return 1; }), idx({1, 3}, DType::i32), y({2, 3, 33}), soft({2, 3, 33});
    x.as<float>()[2 * 33 + 32] = bad;
    const Status s = run(2, cpu::kernels::sample_cfg, op::sample_cfg::Params{0}, {&x, &t, &k, &p, &seed}, {&idx});
    check(s.code == NS_INVALID && std::strstr(s.message, "row 2"), "sample_cfg: a bad logit is named", s.message);
    Tensor k2 = Tensor({2}, DType::i32).fill([](int64_t) { return 5; }), p2 = Tensor({2}).fill([](int64_t) { return 0.5; });
    check(run(2, cpu::kernels::truncate_logits, op::truncate_logits::Params{}, {&x, &k2, &p2}, {&y}).code == NS_INVALID,
          "truncate_logits: a bad logit");
    Tensor seed2 = Tensor({2, 3}, DType::i32).fill([](int64_t) { return 1; }), absent;
    check(run(2, cpu::kernels::gumbel_softmax, op::gumbel_softmax::Params{1, 1, 0}, {&x, &absent, &seed2}, {&soft}).code == NS_INVALID,
          "gumbel_softmax: a bad logit");
    check(run(2, cpu::kernels::gumbel_softmax, op::gumbel_softmax::Params{1, 1, 0}, {&x, &absent, &absent}, {&soft}).code == NS_INVALID,
          "gumbel_softmax: no noise");
  }
  Tensor x = Tensor({2, 1, 9}).fill([](int64_t i) { return i < 9 ? -INFINITY : 0; }), t = Tensor({1}).fill([](int64_t) { return 0; });
  Tensor k({1}, DType::i32), p({1}), seed({1, 3}, DType::i32), idx({1, 1}, DType::i32);
  k.as<int32_t>()[0] = 3;
  p.as<float>()[0] = 0.5f;
  std::memset(seed.data(), 0, seed.bytes);
  check(run(1, cpu::kernels::sample_cfg, op::sample_cfg::Params{0}, {&x, &t, &k, &p, &seed}, {&idx}).code == NS_INVALID,
        "sample_cfg: nothing but -inf");
}

void gumbel(const char* target) {
  for (int64_t V : {5, 64, 100}) {
    const int64_t B = 2, l = 4;
    Rng rng(9);
    Tensor x = Tensor({B, l, V}).normal(rng), g = Tensor({B, l, V}).normal(rng),
           seed = Tensor({B, 3}, DType::i32).fill([](int64_t i) { return static_cast<double>(i * 7); });
    x.as<float>()[2] = -INFINITY;
    for (bool given : {true, false}) {
      const op::gumbel_softmax::Params p = {1.5f, 0.27f, 2};
      std::vector<double> want;
      for (int64_t r = 0; r < B * l; r++) {
        double top = -INFINITY, sum = 0;
        std::vector<double> z;
        const int32_t* s = seed.as<int32_t>() + r / l * 3;
        for (int64_t v = 0; v < V; v++) {
          const ns::Philox c = {{static_cast<uint32_t>(r % l), 2, static_cast<uint32_t>(s[2]), 0x47000000u + static_cast<uint32_t>(v / 4)}};
          const double u = ns::philoxUniform(ns::philox(static_cast<uint32_t>(s[0]), static_cast<uint32_t>(s[1]), c).w[v % 4]);
          const double noise = given ? static_cast<double>(g.as<float>()[r * V + v]) : -std::log(-std::log(u));
          z.push_back((x.as<float>()[r * V + v] * 1.5 + noise) / 0.27f);
          top = std::max(top, z.back());
        }
        for (double v : z) sum += std::exp(v - top);
        for (double v : z) want.push_back(std::exp(v - top) / sum);
      }
      Tensor y({B, l, V}), again({B, l, V}), absent;
      check(run(1, cpu::kernels::gumbel_softmax, p, {&x, given ? &g : &absent, given ? &absent : &seed}, {&y}).ok(),
            "gumbel_softmax status");
      run(3, cpu::kernels::gumbel_softmax, p, {&x, given ? &g : &absent, given ? &absent : &seed}, {&again});
      close(y, want, 0.05, 1e-5, std::string("gumbel_softmax ") + target);
      check(same(y, again), "gumbel_softmax: same bits for every thread count", target);
    }
  }
}

}  // namespace

int main() {
  eachTarget([](const char* target) {
    truncation(target);
    fused(target);
    gumbel(target);
  });
  draws();
  badLogits();
  return finish();
}

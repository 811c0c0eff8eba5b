#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;

namespace {

// The chosen code must be the nearest one in f64, or within f32 rounding of it; equal codes must give the first.
void parity(const char* target) {
  struct Case {
    int64_t n, C, V;
    bool cosine;
  };
  for (const Case& c : {Case{37, 16, 64, false},
                        {65, 32, 1000, true},
                        {256, 32, 4096, false},
                        {1, 33, 7, false},
                        {5, 1, 3, false},
                        {100, 5, 130, true},
                        {7, 64, 65, true}}) {
    Rng rng(static_cast<uint64_t>(c.V));
    Tensor z = Tensor({c.n, c.C}).normal(rng), codes = Tensor({c.V, c.C}).normal(rng);
    // The last code repeats the first, so neither may ever be reported as the last.
    if (c.V > 8) std::memcpy(codes.as<float>() + (c.V - 1) * c.C, codes.data(), static_cast<size_t>(c.C) * 4);
    if (c.V > 8) std::memcpy(z.data(), codes.data(), static_cast<size_t>(c.C) * 4);
    Tensor idx({c.n}, DType::i32), again({c.n}, DType::i32), alone({1}, DType::i32);
    const op::vq_lookup::Params p = {c.cosine};
    check(run(1, cpu::kernels::vq_lookup, p, {&z, &codes}, {&idx}).ok(), "vq_lookup status");
    run(3, cpu::kernels::vq_lookup, p, {&z, &codes}, {&again});
    check(same(idx, again), "vq_lookup: same for every thread count", target);
    bool ok = true, one = true;
    for (int64_t i = 0; i < c.n; i++) {
      const float* a = z.as<float>() + i * c.C;
      const auto distance = [&](int64_t v) {
        const float* e = codes.as<float>() + v * c.C;
        double dot = 0, aa = 0, ee = 0;
        for (int64_t k = 0; k < c.C; k++) {
          dot += static_cast<double>(a[k]) * e[k];
          aa += static_cast<double>(a[k]) * a[k];
          ee += static_cast<double>(e[k]) * e[k];
        }
        return c.cosine ? -dot / std::sqrt(aa * ee) : ee - 2 * dot + aa;
      };
      double best = INFINITY;
      for (int64_t v = 0; v < c.V; v++) best = std::min(best, distance(v));
      const int32_t got = idx.as<int32_t>()[i];
      ok &= got >= 0 && got < c.V && distance(got) <= best + 1e-5 && (c.V <= 8 || got != c.V - 1);
      if (i % 16 == 3) {
        Tensor single({1, c.C});
        std::memcpy(single.data(), a, single.bytes);
        run(1, cpu::kernels::vq_lookup, p, {&single, &codes}, {&alone});
        one &= alone.as<int32_t>()[0] == got;
      }
    }
    check(ok, "vq_lookup: nearest code", target);
    check(one, "vq_lookup: alone equals inside a batch", target);
    if (c.V > 8) check(idx.as<int32_t>()[0] == 0, "vq_lookup: first of equal codes", target);
  }
}

void edges() {
  Tensor z = Tensor({2, 3}).fill([](int64_t i) { return i < 3 ? NAN : 0; }),
         codes = Tensor({4, 3}).fill([](int64_t i) { return i < 3 ? 2 : 1; });
  Tensor idx({2}, DType::i32);
  check(run(1, cpu::kernels::vq_lookup, op::vq_lookup::Params{0}, {&z, &codes}, {&idx}).ok(), "vq_lookup: NaN");
  check(idx.as<int32_t>()[0] == 0 && idx.as<int32_t>()[1] == 1, "vq_lookup: NaN gives 0, ties the first");
  check(run(1, cpu::kernels::vq_lookup, op::vq_lookup::Params{1}, {&z, &codes}, {&idx}).ok() && idx.as<int32_t>()[1] == 0,
        "vq_lookup: cosine of zero");
  Tensor wide({4, 5});
  check(run(1, cpu::kernels::vq_lookup, op::vq_lookup::Params{0}, {&z, &wide}, {&idx}).code == NS_INVALID, "vq_lookup: widths differ");
}

}  // namespace

int main() {
  eachTarget(parity);
  edges();
  return finish();
}

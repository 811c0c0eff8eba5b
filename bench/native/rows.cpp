// Micro-benchmark of attention, norms, their gradients, cross-entropy, nearest code, sampling and random numbers: `rows [threads] [rounds]
// [filter] [target]`, one JSON line per shape. cpu_us is processor time of all threads together, free of preemption by neighbours; divide
// it by the threads for a quiet machine.
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "native/cpu/peak.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;

namespace {

double seconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Bench {
  cpu::Pool pool;
  cpu::Scratch shared;
  std::unique_ptr<cpu::Scratch[]> scratch;
  cpu::Context ctx;
  int rounds;
  std::string filter;

  Bench(int threads, int r, const char* f)
      : pool(threads),
        scratch(new cpu::Scratch[static_cast<size_t>(pool.threads())]),
        ctx{pool, shared, scratch.get()},
        rounds(r),
        filter(f) {}

  // Prints one line; gflop and gbyte are of one call. Returns the median processor time in us.
  template <class P>
  double time(const std::string& name, Kernel<P> kernel, const P& params, const std::vector<Tensor*>& in, const std::vector<Tensor*>& out,
              double gflop, double gbyte) {
    if (name.find(filter) == std::string::npos) return 0;
    std::vector<NsTensor> i, o;
    for (Tensor* t : in) i.push_back(t->ref());
    for (Tensor* t : out) o.push_back(t->ref());
    const NsCall call{0, static_cast<int32_t>(i.size()), static_cast<int32_t>(o.size()), i.data(), o.data(), &params};
    std::vector<double> wall, cpu;
    for (int r = 0; r <= rounds; r++) {
      const double w = seconds(CLOCK_MONOTONIC), c = seconds(CLOCK_PROCESS_CPUTIME_ID);
      if (const Status s = kernel(ctx, call, params); !s.ok()) printf("%s\n", s.message);
      if (r == 0) continue;
      cpu.push_back((seconds(CLOCK_PROCESS_CPUTIME_ID) - c) * 1e6);
      wall.push_back((seconds(CLOCK_MONOTONIC) - w) * 1e6);
    }
    std::sort(wall.begin(), wall.end());
    std::sort(cpu.begin(), cpu.end());
    const double m = wall[wall.size() / 2], c = cpu[cpu.size() / 2];
    printf("{\"op\":\"%s\",\"threads\":%d,\"min_us\":%.1f,\"median_us\":%.1f,\"max_us\":%.1f,\"cpu_us\":%.1f", name.c_str(), pool.threads(),
           wall.front(), m, wall.back(), c);
    if (gflop > 0) printf(",\"gflops\":%.1f,\"gflops_per_core\":%.1f", gflop / m * 1e6, gflop / c * 1e6);
    if (gbyte > 0) printf(",\"gbytes_s\":%.1f", gbyte / m * 1e6);
    printf("}\n");
    return c;
  }
};

// The ten scales of VAR-d16 with guidance: B 2, 16 heads of 64; then the teacher-forced pass and the VAE's single head.
void attention(Bench& bench, Rng& rng) {
  const int sides[] = {1, 2, 3, 4, 5, 6, 8, 10, 13, 16};
  Tensor none, scaleMul = Tensor({16}).fill([](int64_t) { return 1.386; });
  for (DType type : {DType::f32, DType::f16}) {
    Tensor k({2, 16, 680, 64}, type), v({2, 16, 680, 64}, type);
    std::memset(k.data(), 0, k.bytes);
    std::memset(v.data(), 0, v.bytes);
    int pos = 0;
    double sum = 0;
    for (int side : sides) {
      const int l = side * side;
      Tensor qkv = Tensor({2, l, 3072}).normal(rng), y({2, l, 1024});
      const op::attention::Params p = {16, 64, 1, 4.6051702f, pos, side < 16};
      sum += bench.time<op::attention::Params>(
          std::string("attention,") + dtypeName(type) + "," + std::to_string(l) + "," + std::to_string(pos + l), cpu::kernels::attention, p,
          {&qkv, &scaleMul, &none, &k, &v}, {&y}, 4e-9 * 32 * 64 * l * (pos + l), 0);
      pos += l;
    }
    if (sum > 0) printf("{\"op\":\"attention,%s,all scales\",\"cpu_us\":%.1f}\n", dtypeName(type), sum);
  }
  const int shapes[][2] = {{256, 640}, {256, 512}, {1024, 320}};
  for (const auto& s : shapes) {
    Tensor qkv = Tensor({1, s[0], 3 * s[1]}).normal(rng), y({1, s[0], s[1]});
    bench.time<op::attention::Params>("attention,vae," + std::to_string(s[0]) + "," + std::to_string(s[1]), cpu::kernels::attention,
                                      {1, s[1], 0.04f, 4.6051702f, 0, 0}, {&qkv, &none, &none, &none, &none}, {&y},
                                      4e-9 * s[0] * s[0] * s[1], 0);
  }
}

void norms(Bench& bench, Rng& rng) {
  const int shapes[][2] = {{256, 160}, {128, 320}, {64, 640}, {16, 640}};
  for (const auto& s : shapes) {
    Tensor x = Tensor({1, s[0], s[0], s[1]}).normal(rng), y({1, s[0], s[0], s[1]}), gamma = Tensor({s[1]}).normal(rng),
           beta = Tensor({s[1]}).normal(rng);
    bench.time<op::group_norm::Params>("group_norm," + std::to_string(s[0]) + "," + std::to_string(s[1]), cpu::kernels::group_norm,
                                       {32, 1e-6f, 1}, {&x, &gamma, &beta}, {&y}, 0, 12e-9 * static_cast<double>(x.size()));
  }
  Tensor x = Tensor({2, 256, 1024}).normal(rng), mod = Tensor({2, 6, 1024}).normal(rng), y({2, 256, 1024});
  bench.time<op::layer_norm::Params>("layer_norm,512,1024", cpu::kernels::layer_norm, {1e-6f, 2, 4}, {&x, &mod}, {&y}, 0,
                                     8e-9 * static_cast<double>(x.size()));
}

// Backward passes of one training step: VAR of 4 and 16 heads, block-causal over ten scales, then the VQVAE's attention and norms.
void attentionGrads(Bench& bench, Rng& rng) {
  const int64_t shapes[][4] = {{4, 4, 680, 64}, {1, 16, 680, 64}, {1, 4, 680, 64}, {4, 1, 256, 256}, {1, 1, 256, 640}};
  for (const auto& s : shapes) {
    const int64_t B = s[0], H = s[1], l = s[2], c = s[3];
    Tensor qkv = Tensor({B, l, 3 * H * c}).normal(rng), y({B, l, H * c}), dy = Tensor({B, l, H * c}).normal(rng), lse({B, H, l});
    Tensor dqkv({B, l, 3 * H * c}), none, scaleMul, visible, dScale;
    double pairs = static_cast<double>(l * l);
    if (l == 680) {
      scaleMul = Tensor({H}).fill([](int64_t) { return 1.386; });
      dScale = Tensor({H}).fill([](int64_t) { return 0; });
      visible = Tensor({l}, DType::i32);
      int64_t i = 0, end = 0;
      pairs = 0;
      for (int side : {1, 2, 3, 4, 5, 6, 8, 10, 13, 16}) {
        end += side * side;
        for (; i < end; i++) pairs += static_cast<double>(visible.as<int32_t>()[i] = static_cast<int32_t>(end));
      }
    }
    const op::attention::Params fp = {static_cast<int32_t>(H), static_cast<int32_t>(c), l == 680 ? 1 : 0.05f, 4.6051702f, 0, 0};
    const op::attention_grad::Params bp = {fp.heads, fp.width, fp.scale, fp.maxScaleMul};
    const double products = 2e-9 * static_cast<double>(B * H * c) * pairs;
    const std::string size = std::to_string(B) + "," + std::to_string(H) + "," + std::to_string(l) + "," + std::to_string(c);
    const std::vector<Tensor*> forward = {&qkv, &scaleMul, &visible, &none, &none, &lse};
    bench.time<op::attention::Params>("attention,train," + size, cpu::kernels::attention, fp, forward, {&y}, 2 * products, 0);
    run<op::attention::Params>(1, cpu::kernels::attention, fp, forward, {&y});
    bench.time<op::attention_grad::Params>("attention_grad," + size, cpu::kernels::attention_grad, bp,
                                           {&qkv, &y, &dy, &lse, &scaleMul, &visible, &dScale}, {&dqkv}, 5 * products, 0);
  }
}

void rowGrads(Bench& bench, Rng& rng) {
  for (int V : {4096, 512}) {
    Tensor x = Tensor({2720, V}).normal(rng), dx({2720, V}), loss({2720}), one = Tensor({2720}).fill([](int64_t) { return 1; });
    Tensor t = Tensor({2720}, DType::i32).fill([](int64_t i) { return static_cast<double>(i % 500); });
    const double gbyte = 4e-9 * static_cast<double>(x.size());
    bench.time<op::cross_entropy::Params>("cross_entropy,2720," + std::to_string(V), cpu::kernels::cross_entropy, {0.1f}, {&x, &t}, {&loss},
                                          0, gbyte);
    bench.time<op::cross_entropy_grad::Params>("cross_entropy_grad,2720," + std::to_string(V), cpu::kernels::cross_entropy_grad, {0.1f},
                                               {&x, &t, &one}, {&dx}, 0, 2 * gbyte);
  }
  Tensor x = Tensor({4, 680, 1024}).normal(rng), mod = Tensor({4, 6, 1024}).normal(rng), dMod = mod, dx({4, 680, 1024});
  bench.time<op::layer_norm_grad::Params>("layer_norm_grad,2720,1024", cpu::kernels::layer_norm_grad, {1e-6f, 2, 4}, {&x, &x, &mod, &dMod},
                                          {&dx}, 0, 12e-9 * static_cast<double>(x.size()));
  const int shapes[][3] = {{8, 64, 64}, {8, 16, 256}, {1, 256, 160}};
  for (const auto& s : shapes) {
    for (int silu : {0, 1}) {
      Tensor v = Tensor({s[0], s[1], s[1], s[2]}).normal(rng), dy = v, dv = v, gamma = Tensor({s[2]}).normal(rng), sum = gamma;
      const std::string size = std::to_string(s[0]) + "," + std::to_string(s[1]) + "," + std::to_string(s[2]) + (silu ? ",silu" : "");
      bench.time<op::group_norm_grad::Params>("group_norm_grad," + size, cpu::kernels::group_norm_grad, {32, 1e-6f, silu},
                                              {&v, &dy, &gamma, &gamma, &sum, &sum}, {&dv}, 0, 12e-9 * static_cast<double>(v.size()));
    }
  }
  Tensor y({2720, 1024});
  bench.time<op::softmax_grad::Params>("softmax_grad,2720,1024", cpu::kernels::softmax_grad, {1}, {&x, &x}, {&y}, 0,
                                       12e-9 * static_cast<double>(x.size()));
  bench.time<op::l2_normalize_grad::Params>("l2_normalize_grad,2720,1024", cpu::kernels::l2_normalize_grad, {1e-12f}, {&x, &x}, {&y}, 0,
                                            12e-9 * static_cast<double>(x.size()));
}

void lookups(Bench& bench, Rng& rng) {
  Tensor codes = Tensor({4096, 32}).normal(rng);
  for (int n : {1, 256, 680}) {
    Tensor z = Tensor({n, 32}).normal(rng), idx({n}, DType::i32);
    bench.time<op::vq_lookup::Params>("vq_lookup," + std::to_string(n), cpu::kernels::vq_lookup, {0}, {&z, &codes}, {&idx},
                                      2e-9 * n * 4096 * 32, 0);
  }
  Tensor logits = Tensor({2, 256, 4096}).normal(rng, 2.5), one = Tensor({1, 256, 4096}).normal(rng), y({1, 256, 4096}),
         idx({1, 256}, DType::i32), none;
  Tensor t = Tensor({1}).fill([](int64_t) { return 4; }), k = Tensor({1}, DType::i32).fill([](int64_t) { return 900; });
  Tensor p = Tensor({1}).fill([](int64_t) { return 0.95; }),
         seed = Tensor({1, 3}, DType::i32).fill([](int64_t i) { return static_cast<double>(i); });
  bench.time<op::sample_cfg::Params>("sample_cfg,256,4096", cpu::kernels::sample_cfg, {9}, {&logits, &t, &k, &p, &seed}, {&idx}, 0, 0);
  bench.time<op::gumbel_softmax::Params>("gumbel_softmax,256,4096", cpu::kernels::gumbel_softmax, {1.5f, 0.1f, 9}, {&one, &none, &seed},
                                         {&y}, 0, 0);
  bench.time<op::softmax::Params>("softmax,256,4096", cpu::kernels::softmax, {1}, {&one}, {&y}, 0, 0);
  Tensor numbers({8000000});
  bench.time<op::random::Params>("random,trunc_normal,8000000", cpu::kernels::random,
                                 {{}, op::random::Kind::trunc_normal, 0, 0.02f, 1, 2, 3}, {}, {&numbers}, 0, 0);
}

}  // namespace

int main(int argc, char** argv) {
  Bench bench(argc > 1 ? std::atoi(argv[1]) : 0, argc > 2 ? std::max(1, std::atoi(argv[2])) : 9, argc > 3 ? argv[3] : "");
  if (argc > 4) {
    for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
      if (std::strcmp(hwy::TargetName(target), argv[4]) != 0) continue;
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    }
  }
  const cpu::Peak peak = cpu::measurePeak(bench.pool, size_t{256} << 20, 3);
  printf("{\"op\":\"peak\",\"threads\":%d,\"target\":\"%s\",\"gflops\":%.0f,\"read_gbytes_s\":%.1f}\n", bench.pool.threads(), peak.target,
         peak.flops * 1e-9, peak.bytesPerSecond * 1e-9);
  Rng rng(1);
  attention(bench, rng);
  norms(bench, rng);
  attentionGrads(bench, rng);
  rowGrads(bench, rng);
  lookups(bench, rng);
  return 0;
}

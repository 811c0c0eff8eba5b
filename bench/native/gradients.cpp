// Micro-benchmark of the weight gradients beside the forward products of the same size: `gradients [threads] [rounds] [filter] [target]`,
// one JSON line per shape. Forward and backward run in turn, so their ratio holds on a busy machine.
#include <hwy/targets.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/cpu/context.h"
#include "native/cpu/gemm.h"
#include "native/cpu/peak.h"

using namespace ns;
using Clock = std::chrono::steady_clock;

namespace {

struct Machine {
  explicit Machine(int threads) : pool(threads), scratch(new cpu::Scratch[static_cast<size_t>(pool.threads())]) {}
  cpu::Pool pool;
  cpu::Scratch shared;
  std::unique_ptr<cpu::Scratch[]> scratch;
  cpu::Context ctx{pool, shared, scratch.get()};
};

struct Array {
  std::unique_ptr<float, decltype(&std::free)> data;
  NsTensor t = {};
  explicit Array(const std::vector<int64_t>& dims) : data(nullptr, &std::free) {
    size_t n = 1;
    for (size_t i = 0; i < dims.size(); i++) n *= static_cast<size_t>(t.dims[i] = dims[i]);
    data.reset(static_cast<float*>(std::aligned_alloc(64, (n * 4 + 4095) / 4096 * 4096)));
    for (size_t i = 0; i < n; i++) data.get()[i] = 0.01f * static_cast<float>(i % 97) - 0.5f;
    t.data = data.get();
    t.dtype = static_cast<int32_t>(DType::f32);
    t.ndim = static_cast<int32_t>(dims.size());
  }
};

struct Case {
  std::string name;
  double flop = 0;
  std::function<void(Machine&)> forward, backward;
  std::vector<double> forwardSeconds, seconds, peaks;
};

Case linearCase(int64_t m, int64_t n, int64_t k) {
  auto x = std::make_shared<Array>(std::vector<int64_t>{1, m, k}), dy = std::make_shared<Array>(std::vector<int64_t>{1, m, n});
  auto w = std::make_shared<Array>(std::vector<int64_t>{cpu::ceilDiv(n, 16), k, 16}),
       dw = std::make_shared<Array>(std::vector<int64_t>{n, k});
  auto bias = std::make_shared<Array>(std::vector<int64_t>{n});
  Case c;
  char s[100];
  snprintf(s, sizeof(s), "\"op\":\"linear_grad_w\",\"m\":%d,\"n\":%d,\"k\":%d", int(m), int(n), int(k));
  c.name = s;
  c.flop = 2.0 * double(m) * double(n) * double(k);
  c.forward = [=](Machine& machine) {
    const NsTensor in[5] = {x->t, w->t, bias->t, NsTensor{}, NsTensor{}};
    const op::linear::Params p{int32_t(n), op::linear::Act::none, 0};
    cpu::kernels::linear(machine.ctx, NsCall{0, 5, 1, in, &dy->t, &p}, p);
  };
  c.backward = [=](Machine& machine) {
    const NsTensor in[4] = {x->t, dy->t, dw->t, bias->t};
    const op::linear_grad_w::Params p{0.0f};
    cpu::kernels::linear_grad_w(machine.ctx, NsCall{0, 4, 0, in, nullptr, &p}, p);
  };
  return c;
}

Case convCase(int64_t b, int64_t side, int64_t i, int64_t o, int kernel, int stride, int upsample) {
  const int before = stride == 1 ? kernel / 2 : 0, after = kernel / 2;
  const int64_t out = (side * upsample + before + after - kernel) / stride + 1;
  auto x = std::make_shared<Array>(std::vector<int64_t>{b, side, side, i}),
       dy = std::make_shared<Array>(std::vector<int64_t>{b, out, out, o});
  auto w = std::make_shared<Array>(std::vector<int64_t>{cpu::ceilDiv(o, 16), i * kernel * kernel, 16});
  auto dw = std::make_shared<Array>(std::vector<int64_t>{o, i, kernel, kernel}), bias = std::make_shared<Array>(std::vector<int64_t>{o});
  Case c;
  char s[160];
  snprintf(s, sizeof(s), "\"op\":\"conv2d_grad_w\",\"b\":%d,\"side\":%d,\"in\":%d,\"out\":%d,\"kernel\":%d,\"stride\":%d,\"upsample\":%d",
           int(b), int(side), int(i), int(o), kernel, stride, upsample);
  c.name = s;
  c.flop = 2.0 * double(b * out * out) * double(i * o) * kernel * kernel;
  c.forward = [=](Machine& machine) {
    const NsTensor in[4] = {x->t, w->t, bias->t, NsTensor{}};
    const op::conv2d::Params p{int32_t(o), kernel, stride, before, after, upsample, op::conv2d::Algo::direct, 1.0f, 1.0f};
    cpu::kernels::conv2d(machine.ctx, NsCall{0, 4, 1, in, &dy->t, &p}, p);
  };
  c.backward = [=](Machine& machine) {
    const NsTensor in[4] = {x->t, dy->t, dw->t, bias->t};
    const op::conv2d_grad_w::Params p{stride, before, after, upsample, 0.0f};
    cpu::kernels::conv2d_grad_w(machine.ctx, NsCall{0, 4, 0, in, nullptr, &p}, p);
  };
  return c;
}

double timeOf(Machine& machine, const std::function<void(Machine&)>& f) {
  const auto start = Clock::now();
  f(machine);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void measure(Machine& machine, Case& c, int rounds) {
  timeOf(machine, c.forward);
  timeOf(machine, c.backward);
  std::vector<double> ratio;
  for (int r = 0; r < rounds; r++) {
    c.peaks.push_back(cpu::measurePeak(machine.pool, 1 << 20, 1).flops);
    c.forwardSeconds.push_back(timeOf(machine, c.forward));
    c.seconds.push_back(timeOf(machine, c.backward));
    ratio.push_back(c.forwardSeconds.back() / c.seconds.back());
  }
  const double s = median(c.seconds), f = median(c.forwardSeconds), low = *std::min_element(c.seconds.begin(), c.seconds.end());
  const double forwardLow = *std::min_element(c.forwardSeconds.begin(), c.forwardSeconds.end());
  printf(
      "{%s,\"threads\":%d,\"target\":\"%s\",\"ms_median\":%.3f,\"gflops\":%.1f,\"best_gflops\":%.1f,\"forward_gflops\":%.1f,"
      "\"best_forward_gflops\":%.1f,\"of_forward\":%.2f,\"peak_gflops\":%.0f}\n",
      c.name.c_str(), machine.pool.threads(), cpu::gemmTarget(), s * 1e3, c.flop / s * 1e-9, c.flop / low * 1e-9, c.flop / f * 1e-9,
      c.flop / forwardLow * 1e-9, median(ratio), median(c.peaks) * 1e-9);
  fflush(stdout);
}

using Maker = std::function<Case()>;

std::vector<std::pair<std::string, Maker>> cases() {
  std::vector<std::pair<std::string, Maker>> all;
  const int64_t linear[][3] = {{2720, 256, 256},  {2720, 1024, 256}, {2720, 256, 1024}, {2720, 4096, 256}, {680, 1024, 1024},
                               {680, 1024, 4096}, {680, 4096, 1024}, {8, 6144, 1024},   {16, 1536, 256}};
  for (const auto& s : linear) {
    char key[60];
    snprintf(key, sizeof(key), "linear,%d,%d,%d", int(s[0]), int(s[1]), int(s[2]));
    all.emplace_back(key, [s] { return linearCase(s[0], s[1], s[2]); });
  }
  const int conv[][7] = {{1, 256, 160, 160, 3, 1, 1}, {1, 128, 160, 160, 3, 1, 1}, {1, 16, 640, 640, 3, 1, 1}, {1, 32, 320, 320, 3, 1, 1},
                         {16, 32, 32, 32, 3, 1, 1},   {16, 64, 32, 32, 3, 1, 1},   {16, 32, 64, 64, 3, 1, 1},  {16, 8, 128, 128, 3, 1, 1},
                         {1, 256, 3, 160, 3, 1, 1},   {1, 256, 160, 3, 3, 1, 1},   {16, 64, 3, 32, 3, 1, 1},   {16, 64, 32, 3, 3, 1, 1},
                         {1, 128, 320, 160, 1, 1, 1}, {1, 257, 160, 160, 3, 2, 1}, {1, 64, 320, 320, 3, 1, 2}, {1, 16, 32, 640, 3, 1, 1}};
  for (const auto& s : conv) {
    char key[80];
    snprintf(key, sizeof(key), "conv,b%d,%d,%d,%d,k%d,s%d,u%d", s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
    all.emplace_back(key, [s] { return convCase(s[0], s[1], s[2], s[3], s[4], s[5], s[6]); });
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  Machine machine(argc > 1 ? std::atoi(argv[1]) : 0);
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 5;
  const std::string filter = argc > 3 ? argv[3] : "";
  if (argc > 4) {
    for (int64_t t : hwy::SupportedAndGeneratedTargets()) {
      if (std::strcmp(hwy::TargetName(t), argv[4]) != 0) continue;
      hwy::SetSupportedTargetsForTest(t);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      break;
    }
  }
  for (const auto& [key, make] : cases()) {
    if (key.find(filter) == std::string::npos) continue;
    Case c = make();
    measure(machine, c, rounds);
  }
  return 0;
}

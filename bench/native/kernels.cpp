// Micro-benchmark of linear and conv2d: `kernels linear|conv|pool [threads] [rounds] [filter] [target]`, one JSON line per shape.
// Rounds are interleaved over the shapes and each is preceded by a probe of the FMA rate, so a busy neighbour shows in peak_gflops.
#include <hwy/targets.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
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

struct Buffer {
  static constexpr size_t kPage = size_t{2} << 20;
  std::unique_ptr<void, decltype(&std::free)> data{nullptr, &std::free};
  size_t bytes = 0;
  explicit Buffer(size_t n) : data(std::aligned_alloc(kPage, (n + kPage - 1) / kPage * kPage), &std::free), bytes(n) {
    madvise(data.get(), (n + kPage - 1) / kPage * kPage, MADV_HUGEPAGE);  // as the engine's memory
    float* f = static_cast<float*>(data.get());
    for (size_t i = 0; i < n / 4; i++) f[i] = 0.01f * static_cast<float>(i % 97) - 0.5f;
  }
};

NsTensor tensor(void* data, DType type, const std::vector<int64_t>& dims) {
  NsTensor t = {};
  t.data = data;
  t.dtype = static_cast<int32_t>(type);
  t.ndim = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); i++) t.dims[i] = dims[i];
  return t;
}

struct Job {
  std::string name;
  double flop = 0, weightBytes = 0;
  std::vector<double> seconds, peaks, cpu;  // cpu: of the whole process, free of preemption
  virtual ~Job() = default;
  virtual void once(Machine& m) = 0;
};

struct LinearJob : Job {
  int64_t m, k, n, copies, next = 0;
  DType dtype;
  op::linear::Act act;
  Buffer x, w, y, bias;
  static size_t panelBytes(int64_t k, int64_t n, DType t) { return static_cast<size_t>(cpu::ceilDiv(n, 16) * k * 16) * dtypeSize(t); }
  LinearJob(int64_t m_, int64_t k_, int64_t n_, DType t, op::linear::Act a)
      : m(m_),
        k(k_),
        n(n_),
        copies(std::max<int64_t>(1, (m_ <= 64 ? int64_t{160} << 20 : int64_t{1}) / static_cast<int64_t>(panelBytes(k_, n_, t)) + 1)),
        dtype(t),
        act(a),
        x(static_cast<size_t>(m_ * k_) * 4),
        w(panelBytes(k_, n_, t) * static_cast<size_t>(copies)),
        y(static_cast<size_t>(m_ * n_) * 4),
        bias(static_cast<size_t>(n_) * 4) {
    if (t == DType::f16) std::memset(w.data.get(), 0x31, w.bytes);
    char s[120];
    snprintf(s, sizeof(s), "\"op\":\"linear\",\"k\":%d,\"n\":%d,\"m\":%d,\"dtype\":\"%s\",\"act\":%d", int(k), int(n), int(m), dtypeName(t),
             int(a));
    name = s;
    flop = 2.0 * double(m) * double(n) * double(k);
    weightBytes = double(panelBytes(k, n, t));
  }
  void once(Machine& machine) override {
    char* panels = static_cast<char*>(w.data.get()) + static_cast<size_t>(next++ % copies) * panelBytes(k, n, dtype);
    const NsTensor in[5] = {tensor(x.data.get(), DType::f32, {1, m, k}), tensor(panels, dtype, {cpu::ceilDiv(n, 16), k, 16}),
                            tensor(bias.data.get(), DType::f32, {n}), NsTensor{}, NsTensor{}};
    const NsTensor out = tensor(y.data.get(), DType::f32, {1, m, n});
    const op::linear::Params p{int32_t(n), act, 0};
    const NsCall call{0, 5, 1, in, &out, &p};
    cpu::kernels::linear(machine.ctx, call, p);
  }
};

struct ConvJob : Job {
  int64_t side, in, out;
  op::conv2d::Params p;
  int64_t outSide;
  Buffer x, w, y, bias;
  static size_t weightFloats(int64_t in, int64_t out, const op::conv2d::Params& p) {
    const int64_t taps = p.algo == op::conv2d::Algo::direct ? p.kernel * p.kernel : p.algo == op::conv2d::Algo::winograd2 ? 16 : 36;
    return static_cast<size_t>(cpu::ceilDiv(out, 16) * 16 * in * taps);
  }
  static int64_t outputSide(int64_t side, const op::conv2d::Params& p) {
    return (side * p.upsample + p.padBefore + p.padAfter - p.kernel) / p.stride + 1;
  }
  ConvJob(int64_t side_, int64_t in_, int64_t out_, const op::conv2d::Params& q)
      : side(side_),
        in(in_),
        out(out_),
        p(q),
        outSide(outputSide(side_, q)),
        x(static_cast<size_t>(side_ * side_ * in_) * 4),
        w(weightFloats(in_, out_, q) * 4),
        y(static_cast<size_t>(outSide * outSide * out_) * 4),
        bias(static_cast<size_t>(out_) * 4) {
    static const char* const kAlgo[] = {"direct", "winograd2", "winograd4"};
    char s[160];
    snprintf(s, sizeof(s), "\"op\":\"conv2d\",\"in\":%d,\"out\":%d,\"side\":%d,\"kernel\":%d,\"stride\":%d,\"upsample\":%d,\"algo\":\"%s\"",
             int(in), int(out), int(side), p.kernel, p.stride, p.upsample, kAlgo[int(p.algo)]);
    name = s;
    flop = 2.0 * double(outSide * outSide) * double(in * out) * p.kernel * p.kernel;
    weightBytes = double(w.bytes);
  }
  void once(Machine& machine) override {
    NsTensor weight = tensor(w.data.get(), DType::f32, {cpu::ceilDiv(out, 16), in * p.kernel * p.kernel, 16});
    if (p.algo != op::conv2d::Algo::direct) {
      weight = tensor(w.data.get(), DType::f32, {p.algo == op::conv2d::Algo::winograd2 ? 16 : 36, cpu::ceilDiv(out, 16), in, 16});
    }
    const NsTensor ins[4] = {tensor(x.data.get(), DType::f32, {1, side, side, in}), weight, tensor(bias.data.get(), DType::f32, {out}),
                             NsTensor{}};
    const NsTensor output = tensor(y.data.get(), DType::f32, {1, outSide, outSide, out});
    const NsCall call{0, 4, 1, ins, &output, &p};
    cpu::kernels::conv2d(machine.ctx, call, p);
  }
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

double cpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return double(t.tv_sec) + double(t.tv_nsec) * 1e-9;
}

double timeOf(Machine& machine, Job& job, int repeat) {
  const auto start = Clock::now();
  for (int i = 0; i < repeat; i++) job.once(machine);
  return std::chrono::duration<double>(Clock::now() - start).count() / repeat;
}

void measure(Machine& machine, std::vector<std::unique_ptr<Job>>& jobs, int rounds) {
  for (int r = 0; r < rounds; r++) {
    for (auto& job : jobs) {
      const double once = timeOf(machine, *job, 1);
      const int repeat = std::clamp(static_cast<int>(0.03 / once), 1, 200);
      const double peak = cpu::measurePeak(machine.pool, 1 << 20, 1).flops;
      const double before = cpuSeconds();
      job->seconds.push_back(timeOf(machine, *job, repeat));
      job->cpu.push_back((cpuSeconds() - before) / repeat);
      job->peaks.push_back(peak);
    }
  }
  for (auto& job : jobs) {
    const double s = median(job->seconds), low = *std::min_element(job->seconds.begin(), job->seconds.end());
    const double high = *std::max_element(job->seconds.begin(), job->seconds.end());
    printf(
        "{%s,\"threads\":%d,\"target\":\"%s\",\"ms_min\":%.3f,\"ms_median\":%.3f,\"ms_max\":%.3f,\"gflops\":%.1f,\"best_gflops\":%.1f,"
        "\"cpu_ms\":%.3f,\"gflops_per_cpu_s\":%.1f,\"weight_gbytes_s\":%.1f,\"peak_gflops\":%.0f}\n",
        job->name.c_str(), machine.pool.threads(), cpu::gemmTarget(), low * 1e3, s * 1e3, high * 1e3, job->flop / s * 1e-9,
        job->flop / low * 1e-9, median(job->cpu) * 1e3, job->flop / median(job->cpu) * 1e-9, job->weightBytes / s * 1e-9,
        median(job->peaks) * 1e-9);
  }
}

void runLinear(Machine& machine, int rounds, const std::string& filter) {
  const int64_t shapes[][2] = {{1024, 3072}, {1024, 1024}, {1024, 4096}, {4096, 1024}, {64, 4096}};
  for (const auto& s : shapes) {
    std::vector<std::unique_ptr<Job>> jobs;
    for (int64_t m : {1, 2, 8, 18, 50, 128, 338, 512, 1360}) {
      for (DType t : {DType::f32, DType::f16}) {
        char key[60];
        snprintf(key, sizeof(key), "%d,%d,%d,%s", int(s[0]), int(s[1]), int(m), dtypeName(t));
        if (std::string(key).find(filter) == std::string::npos) continue;
        jobs.push_back(std::make_unique<LinearJob>(m, s[0], s[1], t, op::linear::Act::none));
      }
    }
    measure(machine, jobs, rounds);
  }
}

void runConv(Machine& machine, int rounds, const std::string& filter) {
  struct Shape {
    int side, in, out, kernel, stride, upsample;
  };
  const Shape shapes[] = {{16, 640, 640, 3, 1, 1},  {32, 640, 640, 3, 1, 1},  {32, 640, 320, 3, 1, 1},  {32, 320, 320, 3, 1, 1},
                          {64, 640, 320, 3, 1, 1},  {64, 320, 320, 3, 1, 1},  {128, 320, 320, 3, 1, 1}, {128, 320, 160, 3, 1, 1},
                          {128, 160, 160, 3, 1, 1}, {256, 160, 160, 3, 1, 1}, {64, 320, 320, 3, 1, 2},  {256, 160, 3, 3, 1, 1},
                          {256, 3, 160, 3, 1, 1},   {257, 160, 160, 3, 2, 1}, {129, 160, 160, 3, 2, 1}, {65, 320, 320, 3, 2, 1},
                          {33, 320, 320, 3, 2, 1},  {16, 640, 640, 1, 1, 1},  {128, 320, 160, 1, 1, 1}, {16, 32, 640, 3, 1, 1}};
  using Algo = op::conv2d::Algo;
  for (const Shape& s : shapes) {
    std::vector<std::unique_ptr<Job>> jobs;
    for (Algo algo : {Algo::direct, Algo::winograd2, Algo::winograd4}) {
      if (algo != Algo::direct && (s.kernel != 3 || s.stride != 1)) continue;
      char key[60];
      snprintf(key, sizeof(key), "%d,%d,%d,k%d,s%d,a%d", s.side, s.in, s.out, s.kernel, s.stride, int(algo));
      if (std::string(key).find(filter) == std::string::npos) continue;
      const int pad = s.kernel == 3 && s.stride == 1 ? 1 : 0;
      jobs.push_back(std::make_unique<ConvJob>(s.side, s.in, s.out,
                                               op::conv2d::Params{s.out, s.kernel, s.stride, pad, pad, s.upsample, algo, 1.0f, 1.0f}));
    }
    if (!jobs.empty()) measure(machine, jobs, rounds);
  }
}

void runPool(Machine& machine, int rounds) {
  for (int work : {0, 1000, 30000, 500000}) {
    std::vector<double> us;
    for (int r = 0; r < rounds * 20; r++) {
      const auto start = Clock::now();
      machine.pool.parallelFor(16, 1, [&](int64_t, int64_t, int) {
        const auto until = Clock::now() + std::chrono::nanoseconds(work / 16);
        while (work && Clock::now() < until) {
        }
      });
      us.push_back(std::chrono::duration<double>(Clock::now() - start).count() * 1e6);
    }
    printf("{\"op\":\"region\",\"threads\":%d,\"work_us\":%.1f,\"median_us\":%.2f}\n", machine.pool.threads(), work * 1e-3, median(us));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "linear";
  Machine machine(argc > 2 ? std::atoi(argv[2]) : 0);
  const int rounds = argc > 3 ? std::max(1, std::atoi(argv[3])) : 5;
  const std::string filter = argc > 4 ? argv[4] : "";
  if (argc > 5) {
    for (int64_t t : hwy::SupportedAndGeneratedTargets()) {
      if (std::strcmp(hwy::TargetName(t), argv[5]) != 0) continue;
      hwy::SetSupportedTargetsForTest(t);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      break;
    }
  }
  const cpu::Peak peak = cpu::measurePeak(machine.pool, size_t{256} << 20, 3);
  printf("{\"op\":\"peak\",\"threads\":%d,\"target\":\"%s\",\"gflops\":%.0f,\"read_gbytes_s\":%.1f}\n", machine.pool.threads(), peak.target,
         peak.flops * 1e-9, peak.bytesPerSecond * 1e-9);
  if (what == "conv") {
    runConv(machine, rounds, filter);
  } else if (what == "pool") {
    runPool(machine, rounds);
  } else {
    runLinear(machine, rounds, filter);
  }
  return 0;
}

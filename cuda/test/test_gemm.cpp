// The GEMM family against plain double loops: every tile, layout, kind of product and dtype, with and without a split of k, aligned or not;
// the sum of a split's parts by the last block of a tile against a kernel of its own.
#include <algorithm>

#include "cuda/kernels/column_sums.h"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemm_tile.cuh"
#include "cuda/test/device_check.h"
#ifdef NS_EMULATED
#include "cuda/emulation/control.h"
#endif

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;
using namespace ns::cuda::gemm;

namespace {

Context context(int sms) { return device.context(sms); }

struct Tickets {
  Tickets() {
    cudaMalloc(&data, sizeof(unsigned) * kTickets);
    cudaMemset(data, 0, sizeof(unsigned) * kTickets);
  }
  ~Tickets() { cudaFree(data); }
  bool zero() const {
    std::vector<unsigned> now(kTickets, 1);
    cudaMemcpy(now.data(), data, sizeof(unsigned) * kTickets, cudaMemcpyDeviceToHost);
    return std::count(now.begin(), now.end(), 0u) == kTickets;
  }
  unsigned* data = nullptr;
};

// --- products -------------------------------------------------------------------------------------------------------------------------

struct Case {
  int64_t m, n, k;
  DType a = DType::f32, b = DType::f32, y = DType::f32;
  bool alongA = true, alongB = true;
  int64_t batch = 1;
  int shift = 0;  // elements past an aligned address
  bool tf32 = false;
};

std::string text(const Case& c, const Plan& p) {
  char s[200];
  snprintf(s, sizeof(s), "%dx%d over %d, %s%s by %s%s to %s, batch %d, shift %d%s; tile %d, %s, %d splits", int(c.m), int(c.n), int(c.k),
           dtypeName(c.a), c.alongA ? "" : " across", dtypeName(c.b), c.alongB ? "" : " across", dtypeName(c.y), int(c.batch), c.shift,
           c.tf32 ? ", tf32" : "", int(p.size), p.fast ? "fast" : "any", p.splits);
  return s;
}

struct Operands {
  explicit Operands(const Case& c, std::mt19937& rng)
      : a({c.batch, c.m, c.k}, c.a, c.shift), b({c.batch, c.n, c.k}, c.b, c.shift), y({c.batch, c.m, c.n}, c.y, c.shift) {
    const std::vector<double> va = a.random(rng), vb = b.random(rng);
    for (int64_t z = 0; z < c.batch; z++) {
      for (int64_t i = 0; i < c.m; i++) {
        for (int64_t j = 0; j < c.n; j++) {
          double s = 0;
          for (int64_t k = 0; k < c.k; k++) {
            const int64_t ia = c.alongA ? i * c.k + k : k * c.m + i, ib = c.alongB ? j * c.k + k : k * c.n + j;
            s += va[static_cast<size_t>(z * c.m * c.k + ia)] * vb[static_cast<size_t>(z * c.n * c.k + ib)];
          }
          want.push_back(s);
        }
      }
    }
    g.m = c.m, g.n = c.n, g.k = c.k, g.batch = c.batch;
    g.alongA = c.alongA, g.alongB = c.alongB, g.tf32 = c.tf32;
    g.a = {a.data(), c.alongA ? c.k : c.m, c.m * c.k, c.a};
    g.b = {b.data(), c.alongB ? c.k : c.n, c.n * c.k, c.b};
    g.epilogue.y = y.data();
    g.epilogue.yType = c.y;
    g.epilogue.pitch = c.n;
    g.epilogue.batch = c.m * c.n;
    g.epilogue.pack();
  }
  Buffer a, b, y;
  std::vector<double> want;
  Gemm g;
};

double tolerance(const Case& c) {
  const bool rounded = c.tf32 && !(c.a == c.b && c.a != DType::f32);
  return (rounded ? 2e-3 : 4e-6) + roundingOf(c.y);
}

void product(const Context& ctx, const Case& c, Operands& o, const Plan& p) {
  const Status s = enqueue(ctx, o.g, p);
  check(s.ok() && cudaStreamSynchronize(ctx.stream) == cudaSuccess, "product", text(c, p) + " " + s.message);
  const std::vector<double> got = o.y.get();
  const double e = errorOf(got, o.want);
  check(e <= tolerance(c), "product", text(c, p) + " error " + std::to_string(e));
  check(o.y.guarded(), "writes outside", text(c, p));
}

// Every tile the case can run with, one and three parts of k.
void everyPlan(const Case& c, std::mt19937& rng) {
  const Context ctx = context(4);
  Operands o(c, rng);
  const Plan chosen = plan(ctx, o.g);
  product(ctx, c, o, chosen);
  for (const Size size : {Size::small, Size::few, Size::medium, Size::large}) {
    for (const bool fast : {true, false}) {
      if (fast && !chosen.fast) continue;
      if (size == Size::large && !fast) continue;
      if (size == Size::few && !(c.alongA && c.alongB && fast && halves(o.g))) continue;
      if (size == Size::small && !(c.alongA && c.alongB && (fast || !halves(o.g)))) continue;
      for (const int splits : {1, 3}) {
        Plan p;
        p.size = size;
        p.fast = fast;
        product(ctx, c, o, split(p, c.k, splits));
      }
    }
  }
}

// Operands of different types, made f32 first.
void widened(std::mt19937& rng) {
  const Context ctx = context(4);
  for (const Case c : {Case{70, 72, 96, DType::f32, DType::bf16}, Case{40, 36, 68, DType::f16, DType::bf16},
                       Case{24, 40, 64, DType::bf16, DType::f32, DType::f32, false, false},
                       Case{12, 8, 20, DType::f16, DType::f32, DType::f16, true, false, 3}, Case{9, 7, 5, DType::f16, DType::f32},
                       Case{16, 20, 24, DType::f32, DType::bf16, DType::f32, true, true, 1, 1}}) {
    Operands o(c, rng);
    check(widen(ctx, o.g, 1).ok(), "widen");
    const bool may = c.shift == 0 && c.m * c.k % 4 == 0 && c.n * c.k % 4 == 0;
    check(may == (o.g.a.type == DType::f32 && o.g.b.type == DType::f32), "widened");
    product(ctx, c, o, plan(ctx, o.g));
  }
}

void products() {
  std::mt19937 rng(20260801);
  const DType f32 = DType::f32, f16 = DType::f16, bf = DType::bf16;
  struct Layout {
    bool a, b;
  };
  for (const Layout l : {Layout{true, true}, Layout{true, false}, Layout{false, false}}) {
    const auto run = [&](Case c) {
      c.alongA = l.a, c.alongB = l.b;
      everyPlan(c, rng);
    };
    run({64, 72, 96, bf, bf, f32});
    run({136, 144, 200, f16, f16, f16});
    run({17, 33, 19, bf, bf, bf});
    run({40, 24, 130, bf, bf, f32, true, true, 2, 1});
    run({136, 132, 68, f32, f32, f32});
    run({21, 17, 33, f32, f32, bf, true, true, 3});
    run({66, 70, 40, f32, f32, f32, true, true, 1, 1});
    run({48, 40, 72, f32, bf, f32});
    run({33, 65, 47, f16, f32, f32});
    run({24, 40, 64, f16, bf, f32});
    run({72, 64, 64, f32, f32, f32, true, true, 1, 0, true});
    run({35, 30, 51, f32, bf, f16, true, true, 2, 0, true});
    run({1, 1, 1, f32, f32, f32});
    run({3, 5, 0, bf, bf, f32});
  }
  widened(rng);
  everyPlan({1, 80, 64}, rng);
  everyPlan({2, 64, 2100, bf, bf, bf}, rng);
  everyPlan({16, 100, 320, f16, f16, f32}, rng);
  everyPlan({11, 17, 264, f32, bf, f32}, rng);
}

// A grid's z ends at 65535.
void manyBatches() {
  std::mt19937 rng(5);
  const Context ctx = context(2);
  Case c{2, 3, 2};
  c.batch = 65537;
  Operands o(c, rng);
  product(ctx, c, o, plan(ctx, o.g));
}

// Without a split, values do not depend on the tile; the same call gives the same bits.
void sameBits() {
  std::mt19937 rng(6);
  const Context ctx = context(4);
  for (const DType t : {DType::f32, DType::bf16}) {
    const Case c{16, 64, 256, t, t, DType::f32};
    Operands o(c, rng);
    std::vector<double> first;
    for (const Size size : {Size::small, Size::few, Size::medium, Size::large}) {
      if (size == Size::few && t == DType::f32) continue;
      Plan p;
      p.size = size;
      p.fast = true;
      check(enqueue(ctx, o.g, split(p, c.k, 1)).ok(), "tile");
      const std::vector<double> got = o.y.get();
      if (first.empty()) first = got;
      check(got == first, "tiles give other bits", text(c, p));
    }
  }
}

bool sameBits(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// What linear adds to a product: a bias, a gate per three rows, a residual of another type, an activation.
struct Decorated {
  Decorated(const Case& c, std::mt19937& rng)
      : o(c, rng), bias({c.n}, DType::f32), gate({c.batch * c.m, c.n}, DType::f32), residual({c.batch, c.m, c.n}, DType::bf16) {
    bias.random(rng), gate.random(rng), residual.random(rng);
    Epilogue& e = o.g.epilogue;
    e.bias = static_cast<const float*>(bias.data());
    e.gate = static_cast<const float*>(gate.data());
    e.gateStride = c.n;
    e.gateRows = 3;
    e.residual = residual.data();
    e.residualType = DType::bf16;
    e.act = Activation::gelu;
    e.pack();
  }
  Operands o;
  Buffer bias, gate, residual;
};

std::vector<double> bitsOf(const Context& ctx, Operands& o, const Plan& p) {
  cudaMemset(o.y.data(), 0xff, static_cast<size_t>(o.y.count()) * dtypeSize(o.y.type()));
  check(enqueue(ctx, o.g, p).ok() && cudaStreamSynchronize(ctx.stream) == cudaSuccess, "sum of parts");
  return o.y.get();
}

// The last block of a tile gives the bits of the kernel that sums, whichever block that is, and leaves the tickets at zero.
void lastBlockSums(const Case& c, Size size, bool fast, std::mt19937& rng) {
  const Context apart = context(4);
  Context alone = apart;
  const Tickets tickets;
  alone.tickets = tickets.data;
  Decorated d(c, rng);
  for (const int splits : {2, 3, 9, 20}) {
    Plan p;
    p.size = size;
    p.fast = fast;
    p = split(p, c.k, splits);
    const std::vector<double> want = bitsOf(apart, d.o, p);
    const std::string what = text(c, p);
    const auto both = [&](const char* order) {
      check(sameBits(bitsOf(alone, d.o, p), want) && d.o.y.guarded(), "parts summed by the last block", what + order);
      check(tickets.zero(), "tickets", what + order);
    };
    both(" in order");
#ifdef NS_EMULATED
    using ns::emulation::Order;
    ns::emulation::setOrder(Order::descending);
    both(" descending");
    for (const unsigned seed : {1u, 2u, 3u}) {
      ns::emulation::setOrder(Order::shuffled, seed);
      both(" shuffled");
    }
    ns::emulation::setOrder(Order::ascending);
#endif
  }
}

// Recorded once and replayed, between other products that count on the same tickets.
void replayedSums(std::mt19937& rng) {
  Context ctx = context(4);
  const Tickets tickets;
  ctx.tickets = tickets.data;
  const Case c{8, 96, 1280, DType::bf16, DType::bf16, DType::f32};
  Operands o(c, rng), other(c, rng);
  const Plan p = plan(ctx, o.g);
  const std::vector<double> want = bitsOf(ctx, o, p), wantOther = bitsOf(ctx, other, p);
  check(p.splits > 1, "a split to replay");
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t run = nullptr;
  check(cudaStreamCreate(&stream) == cudaSuccess && cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess, "capture");
  ctx.stream = stream;
  const bool recorded = enqueue(ctx, o.g, p).ok() && enqueue(ctx, other.g, p).ok();
  size_t nodes = 0;
  check(recorded && cudaStreamEndCapture(stream, &graph) == cudaSuccess, "recorded");
  check(cudaGraphGetNodes(graph, nullptr, &nodes) == cudaSuccess && nodes == 2, "one launch per product", std::to_string(nodes));
  check(cudaGraphInstantiate(&run, graph, 0) == cudaSuccess, "instantiated");
  for (int i = 0; i < 3; i++) {
    check(sameBits(bitsOf(ctx, other, p), wantOther), "between replays");
    cudaMemset(o.y.data(), 0xff, static_cast<size_t>(o.y.count()) * 4);
    check(cudaGraphLaunch(run, stream) == cudaSuccess && cudaStreamSynchronize(stream) == cudaSuccess, "replay");
    check(sameBits(o.y.get(), want) && tickets.zero(), "replayed sums");
  }
  cudaGraphExecDestroy(run);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

void sumsOfParts() {
  std::mt19937 rng(8);
  const DType f32 = DType::f32, f16 = DType::f16, bf = DType::bf16;
  lastBlockSums({2, 80, 1300, bf, bf, bf}, Size::small, false, rng);
  lastBlockSums({8, 96, 1280, f16, f16, f32}, Size::small, true, rng);
  lastBlockSums({5, 33, 1280, f32, bf, f32}, Size::small, false, rng);
  lastBlockSums({18, 72, 1280, bf, bf, f16}, Size::few, true, rng);
  lastBlockSums({50, 34, 1280, bf, bf, f32, true, true, 2}, Size::few, true, rng);
  lastBlockSums({70, 68, 700, f32, f32, f32}, Size::medium, true, rng);
  lastBlockSums({20, 66, 700, f16, bf, bf, true, true, 1, 1}, Size::medium, false, rng);
  lastBlockSums({144, 136, 1300, bf, bf, f32, false, false}, Size::large, true, rng);
  replayedSums(rng);
}

void columnSums() {
  std::mt19937 rng(7);
  const Context ctx = context(4);
  for (const int64_t rows : {1, 9, 256, 257, 700}) {
    for (const int64_t n : {1, 20, 33, 144}) {
      Buffer x({rows, n}, rows % 2 ? DType::bf16 : DType::f32), sum({n}, DType::f32);
      const std::vector<double> v = x.random(rng);
      std::vector<double> want = sum.random(rng);
      for (int64_t i = 0; i < rows * n; i++) want[static_cast<size_t>(i % n)] += 0.5 * v[static_cast<size_t>(i)];
      check(addColumnSums(ctx, x.data(), x.type(), rows, n, 0.5f, static_cast<float*>(sum.data())).ok(), "column sums");
      const double e = errorOf(sum.get(), want);
      check(e <= 4e-6 && sum.guarded(), "column sums", std::to_string(rows) + "x" + std::to_string(n) + " error " + std::to_string(e));
    }
  }
}

void plans() {
  const Context ctx = context(132);
  const auto of = [&](int64_t m, int64_t n, int64_t k, bool outer = false) {
    Gemm g;
    g.m = m, g.n = n, g.k = k;
    g.alongA = g.alongB = !outer;
    g.a = {nullptr, outer ? m : k, 0, DType::bf16};
    g.b = {nullptr, outer ? n : k, 0, DType::bf16};
    return plan(ctx, g);
  };
  check(of(2, 1024, 1024).size == Size::small && of(2, 1024, 1024).splits > 1, "few rows");
  check(of(4096, 4096, 1024).size == Size::large && of(4096, 4096, 1024).splits == 1, "many rows");
  check(of(1024, 1024, 10880, true).size == Size::large && of(1024, 1024, 10880, true).splits > 1, "weight gradient");
  check(of(18, 1024, 1024).size == Size::few && of(64, 3072, 1024).size == Size::few, "more rows");
  check(of(128, 1024, 1024).size == Size::medium, "some rows");
  check(of(72, 1024, 4096).splits == 8 && of(64, 1024, 4096).splits == 16, "no more parts than the last block of a tile can sum");
  for (const Size size : {Size::small, Size::few, Size::large}) {
    check(sizeToRun(size, true, false, true, true) == Size::medium, "an unaligned product of 16 bit runs in medium tiles");
    check(sizeToRun(size, true, true, true, true) == size, "an aligned one as planned");
  }
  check(sizeToRun(Size::small, true, false, false, false) == Size::small, "few rows in f32");
  check(sizeToRun(Size::small, true, true, false, true) == Size::medium, "few rows in tf32");
  check(sizeToRun(Size::few, false, true, true, true) == Size::medium, "columns by columns");
  Gemm none;
  none.a.type = none.b.type = DType::bf16, none.n = 5, none.k = 3;
  check(plan(ctx, none).splits == 1, "no rows");
  for (const int64_t k : {1, 64, 65, 1000, 4096}) {
    for (const int s : {1, 2, 7, 64}) {
      const Plan p = split({}, k, s);
      check(p.splits <= s && p.depth % 64 == 0 && int64_t{p.depth} * p.splits >= k && int64_t{p.depth} * (p.splits - 1) < k, "split");
    }
  }
}

}  // namespace

int main() {
  plans();
  columnSums();
  products();
  sameBits();
  sumsOfParts();
  manyBatches();
  return ns::test::finish();
}

// attention and attention_grad against plain double loops: both arithmetics and every tile, with and without caches, norms and limits; rows
// that must not depend on how their keys came; data errors; and the shared memory accesses of the tiles, counted on the host.
#include <functional>
#include <set>

#include "cuda/kernels/attention_mma.cuh"
#include "cuda/kernels/attention_simt.cuh"
#include "cuda/test/device_check.h"
#ifdef NS_EMULATED
#include "cuda/emulation/scheduler.h"
#endif

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;
using Doubles = std::vector<double>;

namespace {

GrowingScratch memory;
Libraries libraries;

struct Device {
  DeviceError* error = nullptr;
  Device() {
    cudaMalloc(reinterpret_cast<void**>(&error), sizeof(DeviceError));
    clear();
  }
  ~Device() { cudaFree(error); }
  void clear() { cudaMemset(error, 0, sizeof(DeviceError)); }
  DeviceError found() {
    DeviceError e;
    cudaMemcpy(&e, error, sizeof(e), cudaMemcpyDeviceToHost);
    return e;
  }
  // sms decides which tiles are taken.
  Context context(int sms) const {
    return Context{nullptr, error, op::attention::kId, sms, 90, 227 * 1024, false, false, memory, libraries};
  }
};
Device device;

void eachOrder(const std::function<void()>& body) {
#ifdef NS_EMULATED
  for (auto order : {emulation::Order::ascending, emulation::Order::descending}) {
    emulation::setOrder(order);
    body();
  }
  emulation::setOrder(emulation::Order::ascending);
#else
  body();
  body();
#endif
}

struct Case {
  int B, l, H, c;
  DType type = DType::f32;
  float scale = 1;
  bool scaleMul = false;
  std::vector<int> levels = {};  // not empty: visible
  int pos = 0, Lmax = 0;
  bool append = false;
  DType cache = DType::f32;
  int sms = 4;
  int shift = 0;  // elements: not aligned
};

std::string describe(const Case& c) {
  return std::string(dtypeName(c.type)) + " B " + std::to_string(c.B) + " l " + std::to_string(c.l) + " H " + std::to_string(c.H) + " c " +
         std::to_string(c.c) + " pos " + std::to_string(c.pos) + " sms " + std::to_string(c.sms) + (c.scaleMul ? " scaleMul" : "") +
         (c.levels.empty() ? "" : " levels") + (c.Lmax ? std::string(" cache ") + dtypeName(c.cache) : "");
}

std::vector<int32_t> visibleOf(const Case& c) {
  std::vector<int32_t> v;
  int total = c.pos;
  for (int n : c.levels) {
    total += n;
    v.insert(v.end(), static_cast<size_t>(n), total);
  }
  return v;
}

// Inputs on the device and what they hold.
struct Data {
  Buffer qkv, mul, k, v, y, lse, visible;
  Doubles x, factors, cachedK, cachedV;
  std::vector<int32_t> seen;

  Data(const Case& c, unsigned seed)
      : qkv({c.B, c.l, 3 * c.H * c.c}, c.type, c.shift),
        mul({c.H}, DType::f32),
        y({c.B, c.l, c.H * c.c}, c.type, c.shift),
        lse({c.B, c.H, c.l}, DType::f32) {
    std::mt19937 rng(seed);
    x = qkv.random(rng);
    Doubles m;
    for (int h = 0; h < c.H; h++) m.push_back(h == 0 ? 2.5 : 0.4 * h);
    factors = mul.set(m);
    seen = visibleOf(c);
    if (!seen.empty()) {
      visible = Buffer({c.l}, DType::i32);
      putVisible();
    }
    if (c.Lmax == 0) return;
    k = Buffer({c.B, c.H, c.Lmax, c.c}, c.cache, c.shift);
    v = Buffer({c.B, c.H, c.Lmax, c.c}, c.cache, c.shift);
    cachedK = k.random(rng);
    cachedV = v.random(rng);
  }
  void putVisible() { cudaMemcpy(visible.data(), seen.data(), seen.size() * 4, cudaMemcpyHostToDevice); }
};

constexpr float kMaxMul = 1.75f;  // the first head's is clamped

Status go(const Case& c, Data& d) {
  const op::attention::Params p = {c.H, c.c, c.scale, kMaxMul, c.pos, c.append};
  const Buffer none;
  return run<op::attention::Params>(device.context(c.sms), ops::attention, p,
                                    {&d.qkv, c.scaleMul ? &d.mul : nullptr, d.seen.empty() ? nullptr : &d.visible, c.Lmax ? &d.k : nullptr,
                                     c.Lmax ? &d.v : nullptr, &d.lse},
                                    {&d.y});
}

Doubles unit(const double* x, int c, bool normalize) {
  Doubles u(x, x + c);
  double n = 0;
  for (double v : u) n += v * v;
  n = normalize ? std::max(std::sqrt(n), 1e-12) : 1;
  for (double& v : u) v /= n;
  return u;
}

double dot(const double* a, const double* b, int c) {
  double s = 0;
  for (int i = 0; i < c; i++) s += a[i] * b[i];
  return s;
}

const double* part(const Case& c, const Data& d, int b, int i, int h, int which) {
  return d.x.data() + ((static_cast<int64_t>(b) * c.l + i) * 3 + which) * c.H * c.c + h * c.c;
}

double factorOf(const Case& c, const Data& d, int h) {
  return c.scale * (c.scaleMul ? std::exp(std::min<double>(d.factors[static_cast<size_t>(h)], kMaxMul)) : 1.0);
}

struct Forward {
  Doubles y, lse;
};

Forward reference(const Case& c, const Data& d) {
  Forward r{Doubles(static_cast<size_t>(c.B * c.l * c.H * c.c)), Doubles(static_cast<size_t>(c.B * c.H * c.l))};
  for (int b = 0; b < c.B; b++) {
    for (int h = 0; h < c.H; h++) {
      std::vector<Doubles> keys, values;
      for (int j = 0; j < c.pos; j++) {
        const int64_t at = ((static_cast<int64_t>(b) * c.H + h) * c.Lmax + j) * c.c;
        keys.push_back(unit(d.cachedK.data() + at, c.c, false));
        values.push_back(unit(d.cachedV.data() + at, c.c, false));
      }
      for (int j = 0; j < c.l; j++) {
        keys.push_back(unit(part(c, d, b, j, h, 1), c.c, c.scaleMul));
        values.push_back(unit(part(c, d, b, j, h, 2), c.c, false));
      }
      for (int i = 0; i < c.l; i++) {
        const Doubles q = unit(part(c, d, b, i, h, 0), c.c, c.scaleMul);
        const auto seen = static_cast<size_t>(d.seen.empty() ? c.pos + c.l : d.seen[static_cast<size_t>(i)]);
        Doubles s;
        double top = -INFINITY, sum = 0;
        for (size_t j = 0; j < seen; j++) top = std::max(top, (s.push_back(dot(q.data(), keys[j].data(), c.c) * factorOf(c, d, h)), s[j]));
        for (double& v : s) sum += v = std::exp(v - top);
        r.lse[static_cast<size_t>((b * c.H + h) * c.l + i)] = top + std::log(sum);
        double* y = r.y.data() + ((b * c.l + i) * c.H + h) * c.c;
        for (size_t j = 0; j < seen; j++) {
          for (int e = 0; e < c.c; e++) y[e] += s[j] / sum * values[j][static_cast<size_t>(e)];
        }
      }
    }
  }
  return r;
}

double tolerance(DType a, DType b) {
  const double r = std::max(roundingOf(a), roundingOf(b));
  return r == 0 ? 6e-6 : 4 * r;
}

void forward(const Case& c) {
  const std::string name = describe(c);
  Data d(c, 7);
  const Forward want = reference(c, d);
  const Status st = go(c, d);
  check(st.ok(), "attention", name + ": " + st.message);
  const Doubles y = d.y.get();
  const double e = errorOf(y, want.y), el = errorOf(d.lse.get(), want.lse);
  check(e <= tolerance(c.type, DType::f32), "attention: y", name + " error " + std::to_string(e));
  check(el <= tolerance(c.type, DType::f32), "attention: lse", name + " error " + std::to_string(el));
  check(d.y.guarded() && d.lse.guarded(), "attention: nothing else is written", name);
  if (c.Lmax == 0) return;
  const Doubles k = d.k.get(), v = d.v.get();
  check(d.k.guarded() && d.v.guarded(), "attention: nothing but the caches is written", name);
  double worst = 0;
  for (int b = 0; b < c.B; b++) {
    for (int h = 0; h < c.H; h++) {
      for (int j = 0; j < c.Lmax; j++) {
        const int64_t at = ((static_cast<int64_t>(b) * c.H + h) * c.Lmax + j) * c.c;
        const bool fresh = c.append && j >= c.pos && j < c.pos + c.l;
        const Doubles wantK =
            fresh ? unit(part(c, d, b, j - c.pos, h, 1), c.c, c.scaleMul) : unit(&d.cachedK[static_cast<size_t>(at)], c.c, false);
        const Doubles wantV = unit(fresh ? part(c, d, b, j - c.pos, h, 2) : &d.cachedV[static_cast<size_t>(at)], c.c, false);
        for (int e2 = 0; e2 < c.c; e2++) {
          const auto i = static_cast<size_t>(at + e2), n = static_cast<size_t>(e2);
          const double error = std::max(std::abs(k[i] - wantK[n]), std::abs(v[i] - wantV[n]));
          worst = std::max(worst, fresh || error == 0 ? error : INFINITY);
        }
      }
    }
  }
  check(worst <= roundingOf(c.cache) + 3e-7, "attention: caches", name + " error " + std::to_string(worst));
}

struct Gradient {
  Doubles x, mul;
};

Gradient gradient(const Case& c, const Data& d, const Doubles& y, const Doubles& lse, const Doubles& dy) {
  Gradient r{Doubles(d.x.size()), Doubles(static_cast<size_t>(c.H))};
  const auto through = [&](const double* x, Doubles g, double* to) {
    const Doubles u = unit(x, c.c, true);
    const double n = std::sqrt(dot(x, x, c.c)), along = dot(u.data(), g.data(), c.c);
    for (int e = 0; e < c.c; e++) {
      const auto i = static_cast<size_t>(e);
      to[e] = c.scaleMul ? (n > 1e-12 ? (g[i] - u[i] * along) / n : g[i] / 1e-12) : g[i];
    }
  };
  for (int b = 0; b < c.B; b++) {
    for (int h = 0; h < c.H; h++) {
      const auto l = static_cast<size_t>(c.l), w = static_cast<size_t>(c.c);
      std::vector<Doubles> dq(l, Doubles(w)), dk(l, Doubles(w)), dv(l, Doubles(w));
      const double factor = factorOf(c, d, h);
      for (size_t i = 0; i < l; i++) {
        const int row = static_cast<int>(i);
        const Doubles q = unit(part(c, d, b, row, h, 0), c.c, c.scaleMul);
        const size_t at = static_cast<size_t>((b * c.l + row) * c.H + h) * w;
        const double mean = dot(&y[at], &dy[at], c.c);
        const auto seen = static_cast<size_t>(d.seen.empty() ? c.l : d.seen[i]);
        for (size_t j = 0; j < seen; j++) {
          const Doubles k = unit(part(c, d, b, static_cast<int>(j), h, 1), c.c, c.scaleMul);
          const double s = dot(q.data(), k.data(), c.c) * factor, p = std::exp(s - lse[static_cast<size_t>((b * c.H + h) * c.l + row)]);
          const double ds = p * (dot(&dy[at], part(c, d, b, static_cast<int>(j), h, 2), c.c) - mean);
          if (d.factors[static_cast<size_t>(h)] <= kMaxMul) r.mul[static_cast<size_t>(h)] += ds * s;
          for (size_t e = 0; e < w; e++) {
            dv[j][e] += p * dy[at + e];
            dq[i][e] += ds * factor * k[e];
            dk[j][e] += ds * factor * q[e];
          }
        }
      }
      for (int i = 0; i < c.l; i++) {
        double* const to = r.x.data() + (part(c, d, b, i, h, 0) - d.x.data());
        through(part(c, d, b, i, h, 0), dq[static_cast<size_t>(i)], to);
        through(part(c, d, b, i, h, 1), dk[static_cast<size_t>(i)], to + c.H * c.c);
        std::copy(dv[static_cast<size_t>(i)].begin(), dv[static_cast<size_t>(i)].end(), to + 2 * c.H * c.c);
      }
    }
  }
  return r;
}

void backward(const Case& c) {
  const std::string name = describe(c);
  Data d(c, 11);
  std::mt19937 rng(5);
  const Forward f = reference(c, d);
  const Doubles y = d.y.set(f.y), lse = d.lse.set(f.lse);
  Buffer dy({c.B, c.l, c.H * c.c}, c.type, c.shift);
  const Doubles dyHeld = dy.random(rng);
  const Gradient want = gradient(c, d, y, lse, dyHeld);
  Doubles first, firstMul;
  eachOrder([&] {
    Buffer dqkv({c.B, c.l, 3 * c.H * c.c}, c.type, c.shift), dMul({c.H}, DType::f32);
    const Doubles before = dMul.set(Doubles(static_cast<size_t>(c.H), 0.5));
    const op::attention_grad::Params p = {c.H, c.c, c.scale, kMaxMul};
    const Status st = run<op::attention_grad::Params>(
        device.context(c.sms), ops::attention_grad, p,
        {&d.qkv, &d.y, &dy, &d.lse, c.scaleMul ? &d.mul : nullptr, d.seen.empty() ? nullptr : &d.visible, c.scaleMul ? &dMul : nullptr},
        {&dqkv});
    check(st.ok(), "attention_grad", name + ": " + st.message);
    const Doubles got = dqkv.get(), mul = dMul.get();
    const double tol = c.type == DType::f32 ? 2e-5 : 6 * roundingOf(c.type);
    check(dqkv.guarded() && dMul.guarded(), "attention_grad: nothing else is written", name);
    if (first.empty()) {
      const double e = errorOf(got, want.x);
      check(e <= tol, "attention_grad: dqkv", name + " error " + std::to_string(e));
      Doubles wantMul = before;
      for (size_t h = 0; c.scaleMul && h < wantMul.size(); h++) wantMul[h] += want.mul[h];
      const double em = errorOf(mul, wantMul);
      check(em <= tol, "attention_grad: dScaleMul", name + " error " + std::to_string(em));
      first = got;
      firstMul = mul;
    }
    check(got == first && mul == firstMul, "attention_grad: same bits in every order", name);
  });
}

const std::vector<int> kLevels = {1, 4, 9, 16, 25};
constexpr DType f32 = DType::f32, f16t = DType::f16, bf16t = DType::bf16;

std::vector<Case> forwards() {
  std::vector<Case> all;
  for (DType t : {f32, f16t, bf16t}) {
    // The rows of VAR's scales, alone and behind the others, then all of them with limits.
    for (int l : {1, 4, 9, 16, 36}) all.push_back({1, l, 2, 64, t, 1, true, {}, 30, 70, true, t});
    all.push_back({1, 255, 1, 64, t, 0.03125f, false, {1, 4, 9, 16, 25, 36, 64, 100}});
    all.push_back({2, 55, 3, 64, t, 1, true, kLevels});
    all.push_back({2, 55, 2, 64, t, 1, true, kLevels, 20, 80, true, t});
    // Caches of another dtype; a cache that is only read.
    for (DType cache : {f32, f16t, bf16t}) all.push_back({2, 9, 2, 64, t, 1, true, {}, 5, 30, true, cache});
    all.push_back({1, 16, 3, 64, t, 1, true, {}, 70, 70, false, t});
    all.push_back({1, 16, 3, 64, t, 0.1f, false, {}, 70, 70, false, bf16t});
    // Other widths, odd ones and unaligned rows.
    for (int c : {8, 33, 80, 128, 160}) all.push_back({1, 17, 2, c, t, 0.2f, c == 33, {}, 3, 20, true, t});
    all.push_back({1, 20, 1, 328, t, 0.06f, false, {}});
    all.push_back({1, 9, 2, 64, t, 1, true, {}, 2, 11, true, t, 4, 1});
    // Tiles of 128, 64 and 32 rows.
    for (int sms : {1, 3, 100}) all.push_back({1, 150, 2, 64, t, 0.5f, true, {}, 0, 0, false, t, sms});
    for (int sms : {1, 100}) all.push_back({1, 70, 1, 96, t, 0.1f, false, {}, 0, 0, false, t, sms});
  }
  return all;
}

std::vector<Case> backwards() {
  std::vector<Case> all;
  for (DType t : {f32, f16t, bf16t}) {
    for (int l : {1, 4, 9, 64}) all.push_back({1, l, 2, 64, t, 0.5f, l == 4, {}});
    all.push_back({1, 255, 1, 64, t, 0.03125f, false, {1, 4, 9, 16, 25, 36, 64, 100}});
    all.push_back({2, 55, 3, 64, t, 1, true, kLevels});
    all.push_back({1, 130, 2, 48, t, 1, true, {}});
    for (int c : {33, 80, 160}) all.push_back({1, 17, 2, c, t, 0.2f, c != 80, {}});
    all.push_back({1, 9, 2, 64, t, 1, true, {}, 0, 0, false, t, 4, 1});
  }
  return all;
}

// Scale by scale with a cache equals one call with limits, and an image alone equals itself in a batch: bit for bit.
void composition(DType t) {
  const int H = 2, c = 40, l = 55, W = 3 * H * c, C = H * c;
  Case whole = {2, l, H, c, t, 1, true, kLevels};
  Data all(whole, 3);
  check(go(whole, all).ok(), "attention: one call");
  const Doubles y = all.y.get();
  Data store({2, l, H, c, t, 1, true, {}, 0, l, true, t}, 1);
  int pos = 0;
  bool same = true;
  for (int n : kLevels) {
    const Case step = {2, n, H, c, t, 1, true, {}, pos, l, true, t};
    Data d(step, 1);
    std::swap(d.k, store.k);
    std::swap(d.v, store.v);
    Doubles rows;
    for (int b = 0; b < 2; b++)
      rows.insert(rows.end(), &all.x[static_cast<size_t>((b * l + pos) * W)], &all.x[static_cast<size_t>((b * l + pos) * W)] + n * W);
    d.qkv.set(rows);
    check(go(step, d).ok(), "attention: a scale");
    const Doubles part = d.y.get();
    for (int b = 0; b < 2; b++) {
      for (int i = 0; i < n * C; i++) same &= part[static_cast<size_t>(b * n * C + i)] == y[static_cast<size_t>((b * l + pos) * C + i)];
    }
    std::swap(d.k, store.k);
    std::swap(d.v, store.v);
    pos += n;
  }
  check(same, "attention: cached equals one call", dtypeName(t));
  for (int sms : {1, 200}) {
    Case one = whole;
    one.B = 1;
    one.sms = sms;
    Data alone(one, 2);
    alone.qkv.set(Doubles(all.x.begin() + l * W, all.x.end()));
    check(go(one, alone).ok(), "attention: one image");
    check(alone.y.get() == Doubles(y.begin() + l * C, y.end()), "attention: alone equals inside a batch", dtypeName(t));
  }
}

// Limits out of range are told of and make their rows NaN; rows of zeros are no trouble; both passes of the gradient too.
void edges(DType t) {
  const Case c = {1, 14, 2, 64, t, 1, true, {1, 4, 9}};
  for (int bad : {0, 15, -3}) {
    Data d(c, 3);
    d.seen[6] = bad;
    d.putVisible();
    device.clear();
    check(go(c, d).ok(), "attention: late error");
    const DeviceError e = device.found();
    check(e.code == NS_INDEX && e.at == 6 && e.value == bad && e.op == op::attention::kId, "attention: limit out of range", dtypeName(t));
    const Doubles y = d.y.get();
    bool right = true;
    for (size_t i = 0; i < y.size(); i++) right &= std::isnan(y[i]) == (i / 128 == 6);
    check(right && d.y.guarded(), "attention: NaN in its row", dtypeName(t));
    device.clear();
    Buffer dqkv({1, 14, 384}, t);
    const op::attention_grad::Params p = {2, 64, 1, kMaxMul};
    Buffer dy({1, 14, 128}, t);
    dy.set(Doubles(14 * 128, 1.0));
    check(run<op::attention_grad::Params>(device.context(4), ops::attention_grad, p,
                                          {&d.qkv, &d.y, &dy, &d.lse, &d.mul, &d.visible, nullptr}, {&dqkv})
              .ok(),
          "attention_grad: late error");
    check(device.found().code == NS_INDEX && device.found().at == 6, "attention_grad: limit out of range", dtypeName(t));
    check(std::isnan(dqkv.get()[6 * 384]), "attention_grad: NaN in its row", dtypeName(t));
    device.clear();
  }
  Data z(c, 3);
  z.qkv.set(Doubles(z.x.size(), 0.0));
  check(go(c, z).ok() && errorOf(z.y.get(), Doubles(14 * 128, 0.0)) == 0, "attention: rows of zeros", dtypeName(t));
  // A query of zeros gives the keys nothing.
  Data q(c, 3);
  for (int e = 0; e < 64; e++) q.x[static_cast<size_t>(5 * 384 + e)] = 0;
  q.x = q.qkv.set(q.x);
  const Forward f = reference(c, q);
  const Doubles y = q.y.set(f.y), lse = q.lse.set(f.lse);
  Buffer dy({1, 14, 128}, t), dqkv({1, 14, 384}, t);
  std::mt19937 rng(5);
  const Doubles held = dy.random(rng);
  Doubles want = gradient(c, q, y, lse, held).x;
  const op::attention_grad::Params p = {2, 64, 1, kMaxMul};
  run<op::attention_grad::Params>(device.context(4), ops::attention_grad, p, {&q.qkv, &q.y, &dy, &q.lse, &q.mul, &q.visible, nullptr},
                                  {&dqkv});
  Doubles got = dqkv.get();
  for (int e = 0; e < 64; e++) got[static_cast<size_t>(5 * 384 + e)] = want[static_cast<size_t>(5 * 384 + e)] = 0;
  check(errorOf(got, want) <= (t == f32 ? 2e-5 : 6 * roundingOf(t)), "attention_grad: a query of zeros", dtypeName(t));
}

void refusals() {
  const auto code = [](Case c) {
    Data d(c, 3);
    return go(c, d).code;
  };
  check(code({1, 4, 1, 8, f32, 1, false, {}, 3, 6, true}) == NS_INVALID, "attention: cache too short");
  Case none = {1, 4, 1, 8};
  none.append = true;
  check(code(none) == NS_INVALID, "attention: append without a cache");
  check(code({0, 4, 1, 8}) == NS_OK && code({2, 0, 1, 8}) == NS_OK, "attention: nothing to do");
}

// --- bank conflicts -------------------------------------------------------------------------------------------------------------------

// Byte offsets of 16-byte accesses; eight lanes are served together and must fall into different banks, or on the same word.
bool freeOfConflicts(const std::vector<int>& offsets) {
  for (size_t first = 0; first < offsets.size(); first += 8) {
    std::set<std::pair<int, int>> words;
    for (size_t i = first; i < first + 8; i++) {
      for (int b = 0; b < 16; b += 4) words.insert({(offsets[i] + b) / 4 % 32, (offsets[i] + b) / 4});
    }
    int last = -1;
    for (const auto& w : words) {
      if (w.first == last) return false;
      last = w.first;
    }
  }
  return true;
}

template <int W>
void tileConflicts() {
  bool matrices = true, copies = true;
  std::set<int> distinct;
  for (int chunk = 0; chunk < W / 8; chunk++) {
    for (int first = 0; first < 64; first += 8) {
      std::vector<int> rows;
      for (int i = 0; i < 8; i++) rows.push_back(att::tileAt<W>(first + i, chunk) * 2);
      distinct.insert(rows.begin(), rows.end());
      matrices &= freeOfConflicts(rows);
    }
  }
  for (int i = 0; i < 64 * W / 8; i += 8) {
    std::vector<int> lanes;
    for (int j = i; j < i + 8; j++) lanes.push_back(att::tileAt<W>(j / (W / 8), j % (W / 8)) * 2);
    copies &= freeOfConflicts(lanes);
  }
  check(matrices && copies, "attention: tiles without bank conflicts", std::to_string(W));
  check(distinct.size() == 64 * W / 8, "attention: every chunk has a place", std::to_string(W));
}

void simtConflicts() {
  bool reads = true, keeps = true;
  for (int warp = 0; warp < 8; warp++) {
    for (int i = 0; i < 4; i++) {
      std::vector<int> x, y, z, load;
      std::set<int> banks;
      for (int lane = 0; lane < 32; lane++) {
        const int tx = lane % 16, ty = warp * 2 + lane / 16;
        x.push_back((4 * ty + i) * att::kLine * 4);
        y.push_back((tx + 16 * i) * att::kLine * 4);
        z.push_back((i * att::kLine + 4 * tx) * 4);
        load.push_back((ty * att::kLine + 4 * tx) * 4);
        banks.insert(((4 * ty + i) * att::kLine + tx) % 32);
      }
      reads &= freeOfConflicts(x) && freeOfConflicts(y) && freeOfConflicts(z) && freeOfConflicts(load);
      keeps &= banks.size() == 32;
    }
  }
  check(reads && keeps, "attention: f32 tiles without bank conflicts");
}

}  // namespace

int main() {
  tileConflicts<64>();
  tileConflicts<128>();
  simtConflicts();
  eachOrder([] {
    for (const Case& c : forwards()) forward(c);
  });
  for (const Case& c : backwards()) backward(c);
  for (DType t : {f32, f16t, bf16t}) {
    composition(t);
    edges(t);
  }
  refusals();
  return ns::test::finish();
}

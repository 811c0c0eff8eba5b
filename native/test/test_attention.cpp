#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
using P = op::attention::Params;

namespace {

struct Case {
  int64_t B, l, H, c, Lmax;
  P p;
  bool scaleMul;
  std::vector<int> levels;  // not empty: visible
  DType cache = DType::f32;
};

double half(uint16_t h, DType type) {
  if (type == DType::bf16) {
    const uint32_t u = static_cast<uint32_t>(h) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  }
  const int e = (h >> 10) & 31, m = h & 1023;
  const double v = e == 0 ? std::ldexp(m, -24) : std::ldexp(1024 + m, e - 25);
  return h & 0x8000 ? -v : v;
}

double at(Tensor& t, int64_t i) {
  const DType type = static_cast<DType>(t.t.dtype);
  return type == DType::f32 ? t.as<float>()[i] : half(t.as<uint16_t>()[i], type);
}

std::vector<int> visibleOf(const std::vector<int>& levels) {
  std::vector<int> v;
  int total = 0;
  for (int n : levels) {
    total += n;
    for (int i = 0; i < n; i++) v.push_back(total);
  }
  return v;
}

struct Data {
  Tensor qkv, scaleMul, visible, k, v, y;

  Data(const Case& c, uint64_t seed) : qkv({c.B, c.l, 3 * c.H * c.c}), y({c.B, c.l, c.H * c.c}) {
    Rng rng(seed);
    qkv.normal(rng, c.scaleMul ? 3.0 : 1.0);
    if (c.scaleMul) scaleMul = Tensor({c.H}).fill([&](int64_t i) { return i == 0 ? 5.5 : 1.0 + 0.3 * static_cast<double>(i); });
    if (!c.levels.empty()) {
      const std::vector<int> vis = visibleOf(c.levels);
      visible = Tensor({c.l}, DType::i32).fill([&](int64_t i) { return vis[static_cast<size_t>(i)]; });
    }
    if (c.Lmax) {
      k = Tensor({c.B, c.H, c.Lmax, c.c}, c.cache);
      v = Tensor({c.B, c.H, c.Lmax, c.c}, c.cache);
      for (Tensor* t : {&k, &v}) {
        if (c.cache == DType::f32) {
          t->normal(rng, 0.4);
        } else {
          // 0x2c00..0x3bff: f16 in 0.06..1, bf16 in 1e-11..0.008, both signs.
          for (int64_t i = 0; i < t->size(); i++) {
            t->as<uint16_t>()[i] = static_cast<uint16_t>((0x2c00 + rng.next() % 0x1000) | (rng.next() & 0x8000));
          }
        }
      }
    }
  }
  Status go(const Case& c, int threads) { return run<P>(threads, cpu::kernels::attention, c.p, {&qkv, &scaleMul, &visible, &k, &v}, {&y}); }
};

double normOf(const float* x, int64_t c) {
  double s = 0;
  for (int64_t i = 0; i < c; i++) s += static_cast<double>(x[i]) * x[i];
  return std::max(std::sqrt(s), 1e-12);
}

double largestScore;  // of the last reference(): f32 rounding of a score moves its weight by as much times 2^-24

std::vector<double> reference(const Case& c, Data& d) {
  largestScore = 0;
  std::vector<double> y(static_cast<size_t>(c.B * c.l * c.H * c.c), 0.0);
  const int64_t W = 3 * c.H * c.c, pos = c.p.pos, total = pos + c.l;
  for (int64_t b = 0; b < c.B; b++) {
    for (int64_t h = 0; h < c.H; h++) {
      const auto row = [&](int64_t i, int part) { return d.qkv.as<float>() + (b * c.l + i) * W + part * c.H * c.c + h * c.c; };
      double factor = c.p.scale;
      if (c.scaleMul) factor *= std::exp(std::min<double>(d.scaleMul.as<float>()[h], c.p.maxScaleMul));
      for (int64_t i = 0; i < c.l; i++) {
        const int64_t seen = c.levels.empty() ? total : d.visible.as<int32_t>()[i];
        const double qn = c.scaleMul ? normOf(row(i, 0), c.c) : 1.0;
        std::vector<double> s(static_cast<size_t>(seen));
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < seen; j++) {
          const double kn = j >= pos && c.scaleMul ? normOf(row(j - pos, 1), c.c) : 1.0;
          double dot = 0;
          for (int64_t x = 0; x < c.c; x++) {
            dot += row(i, 0)[x] / qn * (j < pos ? at(d.k, ((b * c.H + h) * c.Lmax + j) * c.c + x) : row(j - pos, 1)[x] / kn);
          }
          top = std::max(top, s[static_cast<size_t>(j)] = dot * factor);
        }
        for (double v : s) largestScore = std::max(largestScore, std::abs(v));
        for (double& v : s) sum += v = std::exp(v - top);
        double* out = y.data() + ((b * c.l + i) * c.H + h) * c.c;
        for (int64_t j = 0; j < seen; j++) {
          for (int64_t x = 0; x < c.c; x++) {
            out[x] += s[static_cast<size_t>(j)] / sum * (j < pos ? at(d.v, ((b * c.H + h) * c.Lmax + j) * c.c + x) : row(j - pos, 2)[x]);
          }
        }
      }
    }
  }
  return y;
}

P params(int heads, int width, float scale, int pos = 0, bool append = false) { return {heads, width, scale, 4.6051702f, pos, append}; }

std::vector<Case> cases() {
  return {
      {2, 9, 2, 64, 30, params(2, 64, 0.03125f, 5, true), false, {}},
      {2, 16, 3, 64, 14, params(3, 64, 1, 14), true, {}},
      {2, 30, 2, 64, 0, params(2, 64, 1), true, {1, 4, 9, 16}},
      {1, 255, 1, 64, 0, params(1, 64, 0.03125f), false, {1, 4, 9, 16, 25, 36, 64, 100}},
      {1, 64, 1, 160, 0, params(1, 160, 0.079f), false, {}},
      {1, 1, 2, 33, 0, params(2, 33, 1), true, {}},
      {1, 100, 1, 640, 0, params(1, 640, 0.0395f), false, {}},
      {1, 7, 2, 5, 71, params(2, 5, 0.5f, 64, true), true, {}},
      {2, 13, 1, 33, 100, params(1, 33, 0.2f, 70, true), false, {}, DType::f16},
      {1, 20, 2, 48, 90, params(2, 48, 1, 60, true), true, {}, DType::bf16},
      {1, 200, 1, 17, 0, params(1, 17, 3), false, {}},
      {1, 130, 1, 64, 160, params(1, 64, 0.1f, 20, true), false, {}},  // several tasks that append
      {1, 130, 1, 33, 160, params(1, 33, 0.1f, 20, true), true, {}, DType::f16},
  };
}

void parity(const char* target) {
  int index = 0;
  for (const Case& c : cases()) {
    Data first(c, 100 + static_cast<uint64_t>(index));
    const std::vector<double> want = reference(c, first);
    Tensor k0 = first.k, v0 = first.v;
    check(first.go(c, 1).ok(), "attention status");
    double size = 0;
    for (double v : want) size = std::max(size, std::abs(v));
    close(first.y, want, size, 1e-6 + 2e-7 * largestScore, std::string("attention ") + target + " case " + std::to_string(index));
    for (int threads : {2, 3}) {
      Data again(c, 100 + static_cast<uint64_t>(index));
      again.go(c, threads);
      check(same(first.y, again.y), "attention: same bits for every thread count", target);
      check(!c.Lmax || (same(first.k, again.k) && same(first.v, again.v)), "attention: same caches", target);
    }
    if (c.Lmax) {
      const size_t bytes = dtypeSize(c.cache) * static_cast<size_t>(c.c);
      bool untouched = true;
      for (int64_t r = 0; r < c.B * c.H * c.Lmax; r++) {
        const int64_t j = r % c.Lmax;
        if (c.p.append && j >= c.p.pos && j < c.p.pos + c.l) continue;
        untouched &= !std::memcmp(static_cast<char*>(first.k.data()) + static_cast<size_t>(r) * bytes,
                                  static_cast<char*>(k0.data()) + static_cast<size_t>(r) * bytes, bytes);
        untouched &= !std::memcmp(static_cast<char*>(first.v.data()) + static_cast<size_t>(r) * bytes,
                                  static_cast<char*>(v0.data()) + static_cast<size_t>(r) * bytes, bytes);
      }
      check(untouched, "attention: other cache rows untouched", target);
    }
    index++;
  }
}

void appended(const char* target) {
  for (DType type : {DType::f32, DType::f16, DType::bf16}) {
    Case c = {2, 6, 2, 33, 20, params(2, 33, 1, 9, true), true, {}, type};
    Data d(c, 7);
    d.go(c, 2);
    double worstK = 0, worstV = 0;
    for (int64_t b = 0; b < c.B; b++) {
      for (int64_t h = 0; h < c.H; h++) {
        for (int64_t j = 0; j < c.l; j++) {
          const float* k = d.qkv.as<float>() + (b * c.l + j) * 3 * c.H * c.c + c.H * c.c + h * c.c;
          const double n = normOf(k, c.c);
          for (int64_t x = 0; x < c.c; x++) {
            const int64_t i = ((b * c.H + h) * c.Lmax + 9 + j) * c.c + x;
            worstK = std::max(worstK, std::abs(at(d.k, i) - k[x] / n));
            worstV = std::max(worstV, std::abs(at(d.v, i) - k[c.H * c.c + x]));
          }
        }
      }
    }
    const double unit = type == DType::f32 ? 3e-7 : type == DType::f16 ? 0x1p-11 : 0x1p-8;
    check(worstK <= unit && worstV <= 16 * unit, "attention: appended rows", target);
  }
}

// Scale by scale with a cache equals one teacher-forced call with `visible`, and batch members equal themselves alone: bit for bit.
void composition(const char* target) {
  const std::vector<int> levels = {1, 4, 9, 16, 25, 36, 64};
  for (bool scaleMul : {true, false}) {
    const Case whole = {2, 155, 3, 40, 0, params(3, 40, 1), scaleMul, levels};
    Data all(whole, 11);
    all.go(whole, 2);
    Tensor k({2, 3, 91, 40}), v({2, 3, 91, 40});
    int pos = 0;
    bool equal = true;
    const int64_t W = 3 * 3 * 40, C = 3 * 40;
    for (int n : levels) {
      const Case step = {2, n, 3, 40, 91, params(3, 40, 1, pos, pos + n <= 91), scaleMul, {}};
      Data d(step, 1);
      if (scaleMul) d.scaleMul = all.scaleMul;
      std::swap(d.k, k);
      std::swap(d.v, v);
      for (int64_t b = 0; b < 2; b++)
        std::memcpy(d.qkv.as<float>() + b * n * W, all.qkv.as<float>() + (b * 155 + pos) * W, static_cast<size_t>(n * W) * 4);
      check(d.go(step, 2).ok(), "attention step");
      for (int64_t b = 0; b < 2; b++) {
        equal &= !std::memcmp(d.y.as<float>() + b * n * C, all.y.as<float>() + (b * 155 + pos) * C, static_cast<size_t>(n * C) * 4);
      }
      std::swap(d.k, k);
      std::swap(d.v, v);
      pos += n;
    }
    check(equal, "attention: cached equals teacher-forced", target);

    Case one = whole;
    one.B = 1;
    Data alone(one, 2);
    if (scaleMul) alone.scaleMul = all.scaleMul;
    std::memcpy(alone.qkv.data(), all.qkv.as<float>() + 155 * W, alone.qkv.bytes);
    alone.go(one, 1);
    check(!std::memcmp(alone.y.data(), all.y.as<float>() + 155 * C, alone.y.bytes), "attention: alone equals inside a batch", target);
  }
}

void edges() {
  Case c = {1, 4, 1, 8, 0, params(1, 8, 1), false, {1, 3}};
  Data d(c, 3);
  d.visible.as<int32_t>()[2] = 5;
  check(d.go(c, 1).code == NS_INDEX, "attention: visible above the number of keys");
  d.visible.as<int32_t>()[2] = 0;
  check(d.go(c, 1).code == NS_INDEX, "attention: visible 0");
  Case full = {1, 4, 1, 8, 6, params(1, 8, 1, 3, true), false, {}};
  check(Data(full, 3).go(full, 1).code == NS_INVALID, "attention: cache too short");
  Case none = {1, 4, 1, 8, 0, params(1, 8, 1, 0, true), false, {}};
  check(Data(none, 3).go(none, 1).code == NS_INVALID, "attention: append without a cache");
  Case zero = {1, 3, 1, 8, 0, params(1, 8, 1), true, {}};
  Data z(zero, 3);
  std::memset(z.qkv.data(), 0, z.qkv.bytes);
  check(z.go(zero, 1).ok() && z.y.as<float>()[0] == 0.0f, "attention: zero vectors");
  Case nan = {1, 9, 1, 8, 0, params(1, 8, 1), false, {}};
  Data n(nan, 3);
  n.qkv.as<float>()[24] = NAN;
  check(n.go(nan, 1).ok() && std::isnan(n.y.as<float>()[8]) && !std::isnan(n.y.as<float>()[0]), "attention: NaN stays in its row");
  // Large scores: no overflow.
  Case big = {1, 70, 1, 8, 0, params(1, 8, 500), false, {}};
  Data g(big, 3);
  const std::vector<double> want = reference(big, g);
  g.go(big, 1);
  close(g.y, want, 1, 2e-7 * largestScore, "attention: scores of thousands");
}

}  // namespace

int main() {
  eachTarget([](const char* target) {
    parity(target);
    appended(target);
    composition(target);
  });
  edges();
  return finish();
}

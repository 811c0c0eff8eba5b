// attention against plain double loops: both arithmetics and every tile, with and without caches, norms and limits; rows that must not
// depend on how their keys came; data errors; and the shared memory accesses of the tiles, counted on the host.
#include <set>

#include "cuda/kernels/attention_mma.cuh"
#include "cuda/kernels/attention_simt.cuh"
#include "cuda/test/attention_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {

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

// Limits out of range are told of and make their rows NaN; rows of zeros are no trouble.
void edges(DType t) {
  const Case c = {1, 14, 2, 64, t, 1, true, {1, 4, 9}};
  for (int bad : {0, 15, -3}) {
    Data d(c, 3);
    d.seen[6] = bad;
    d.putVisible();
    check(go(c, d).ok(), "attention: late error");
    const DeviceError e = device.takeError();
    check(e.code == NS_INDEX && e.at == 6 && e.value == bad && e.op == TestDevice::kOp, "attention: limit out of range", dtypeName(t));
    const Doubles y = d.y.get();
    bool right = true;
    for (size_t i = 0; i < y.size(); i++) right &= std::isnan(y[i]) == (i / 128 == 6);
    check(right && d.y.guarded(), "attention: NaN in its row", dtypeName(t));
  }
  Data z(c, 3);
  z.qkv.set(Doubles(z.x.size(), 0.0));
  check(go(c, z).ok() && errorOf(z.y.get(), Doubles(14 * 128, 0.0)) == 0, "attention: rows of zeros", dtypeName(t));
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
  for (DType t : {f32, f16t, bf16t}) {
    composition(t);
    edges(t);
  }
  refusals();
  return ns::test::finish();
}

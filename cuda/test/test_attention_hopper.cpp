// attention of width 64 with NEXTSCALE_CUDA_HOPPER=1 (a device of compute capability 9.0; another one takes its usual kernels): against
// plain double loops, and rows that depend on neither the size of a block nor on how their keys came.
#include <cstdlib>

#include "cuda/test/attention_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {

void forward(const Case& c) {
  const std::string name = describe(c);
  Data d(c, 11);
  const Forward want = reference(c, d);
  const Status st = go(c, d);
  check(st.ok(), "attention", name + ": " + st.message);
  const double e = errorOf(d.y.get(), want.y), el = errorOf(d.lse.get(), want.lse), most = 4 * roundingOf(c.type);
  check(e <= most, "attention: y", name + " error " + std::to_string(e));
  check(el <= most, "attention: lse", name + " error " + std::to_string(el));
  check(d.y.guarded() && d.lse.guarded(), "attention: nothing else is written", name);
}

const std::vector<int> kScales = {1, 4, 9, 16, 25, 36, 64, 100};

std::vector<Case> forwards(DType t) {
  std::vector<Case> all;
  // Of a scale behind the others; all of them at once, in blocks of 64 and of 128 rows.
  for (int l : {1, 36, 64, 100}) all.push_back({1, l, 2, 64, t, 1, true, {}, 30, 140, true, t});
  for (int sms : {1, 100}) {
    all.push_back({1, 255, 2, 64, t, 0.125f, false, kScales, 0, 0, false, t, sms});
    all.push_back({2, 150, 2, 64, t, 0.5f, true, {}, 0, 0, false, t, sms});
  }
  all.push_back({2, 55, 2, 64, t, 1, true, kLevels, 20, 80, true, t, 1});
  for (DType cache : {f32, f16t, bf16t}) all.push_back({1, 70, 2, 64, t, 1, true, {}, 66, 140, true, cache, 1});
  all.push_back({1, 16, 3, 64, t, 0.1f, false, {}, 70, 70, false, t});
  for (int l : {63, 65, 128, 129, 193}) all.push_back({1, l, 1, 64, t, 0.3f, false, {}, 0, 0, false, t, 1});
  // Scores of no difference, and by the usual kernels those of a scale that is not positive.
  for (float scale : {0.0f, -0.2f, 1e-30f}) all.push_back({1, 70, 1, 64, t, scale});
  return all;
}

// Scale by scale with a cache equals one call with limits, and blocks of 64 rows equal those of 128: bit for bit.
void composition(DType t) {
  const int H = 2, c = 64, l = 255, W = 3 * H * c, C = H * c;
  const Case whole = {1, l, H, c, t, 1, true, kScales, 0, 0, false, t, 1};
  Data all(whole, 3), small(whole, 3);
  check(go(whole, all).ok(), "attention: one call");
  const Doubles y = all.y.get();
  Case other = whole;
  other.sms = 100;
  check(go(other, small).ok() && small.y.get() == y, "attention: blocks of 64 and 128 rows agree", dtypeName(t));
  Data store({1, l, H, c, t, 1, true, {}, 0, l, true, t}, 1);
  int pos = 0;
  bool same = true;
  for (int n : kScales) {
    const Case step = {1, n, H, c, t, 1, true, {}, pos, l, true, t, 1};
    Data d(step, 1);
    std::swap(d.k, store.k);
    std::swap(d.v, store.v);
    d.qkv.set(Doubles(&all.x[static_cast<size_t>(pos * W)], &all.x[static_cast<size_t>(pos * W)] + n * W));
    check(go(step, d).ok(), "attention: a scale");
    const Doubles part = d.y.get();
    for (int i = 0; i < n * C; i++) same &= part[static_cast<size_t>(i)] == y[static_cast<size_t>(pos * C + i)];
    std::swap(d.k, store.k);
    std::swap(d.v, store.v);
    pos += n;
  }
  check(same, "attention: cached equals one call", dtypeName(t));
}

// Limits out of range are told of and make their rows NaN, other rows keep their bits; rows of zeros are no trouble.
void edges(DType t) {
  const Case c = {1, 255, 2, 64, t, 1, true, kScales, 0, 0, false, t, 1};
  Data good(c, 3);
  check(go(c, good).ok(), "attention: limits");
  const Doubles want = good.y.get();
  for (int bad : {0, 256, -3}) {
    Data d(c, 3);
    d.seen[150] = bad;
    d.putVisible();
    check(go(c, d).ok(), "attention: late error");
    const DeviceError e = device.takeError();
    check(e.code == NS_INDEX && e.at == 150 && e.value == bad && e.op == TestDevice::kOp, "attention: limit out of range", dtypeName(t));
    const Doubles y = d.y.get();
    bool right = true;
    for (size_t i = 0; i < y.size(); i++) right &= i / 128 == 150 ? std::isnan(y[i]) : y[i] == want[i];
    check(right && d.y.guarded(), "attention: NaN in its row", dtypeName(t));
  }
  Data z(c, 3);
  z.qkv.set(Doubles(z.x.size(), 0.0));
  check(go(c, z).ok() && errorOf(z.y.get(), Doubles(want.size(), 0.0)) == 0, "attention: rows of zeros", dtypeName(t));
}

}  // namespace

int main() {
  setenv("NEXTSCALE_CUDA_HOPPER", "1", 1);
  eachOrder([] {
    for (DType t : {f16t, bf16t}) {
      for (const Case& c : forwards(t)) forward(c);
      composition(t);
      edges(t);
    }
  });
  return ns::test::finish();
}

// Positions in tensors as backends plan them, against the definition element by element.
#include <vector>

#include "native/abi/plan.h"
#include "native/test/check.h"

using namespace ns;
using ns::test::check;

namespace {
using Dims = std::vector<int64_t>;

NsTensor shaped(const Dims& dims) {
  NsTensor t{nullptr, 0, static_cast<int32_t>(dims.size()), {}};
  for (size_t i = 0; i < dims.size(); i++) t.dims[i] = dims[i];
  return t;
}

int64_t product(const Dims& dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  return n;
}

// The element of an operand that belongs to element i of y.
int64_t plainOffset(const NsTensor& t, const NsTensor& y, int64_t i) {
  int64_t at = 0, run = 1;
  for (int d = 0; d < y.ndim; d++) {
    const int64_t n = plan::dimFromEnd(y, d), own = plan::dimFromEnd(t, d), c = i % n;
    if (own != 1) at += c * run;
    run *= own;
    i /= n;
  }
  return at;
}

void broadcasts(const char* what, const Dims& a, const Dims& b, const Dims& y, int64_t n, int outer) {
  const NsTensor ta = shaped(a), tb = shaped(b), ty = shaped(y);
  const plan::Broadcast m = plan::broadcastOf(ta, tb, ty);
  const int64_t total = product(y);
  bool ok = m.n == n && m.rows.k == outer && m.n * m.rows.total == total;
  for (int64_t i = 0; ok && i < total; i++) {
    int64_t ao, bo;
    m.rows.at(i / m.n, &ao, &bo);
    ok = ao + (m.aStep ? i % m.n : 0) == plainOffset(ta, ty, i) && bo + (m.bStep ? i % m.n : 0) == plainOffset(tb, ty, i);
  }
  check(ok, what);
}

// Every element of `large` once, and the one of `small` it belongs to: kept positions and the inner run count small's elements in order.
void keeps(const char* what, const Dims& large, const Dims& small, int64_t n, bool inner) {
  const NsTensor tl = shaped(large), ts = shaped(small);
  const plan::Kept m = plan::keptOf(tl, ts);
  std::vector<int> seen(static_cast<size_t>(product(large)));
  bool ok = m.n == n && m.inner == inner && m.kept.total * m.repeated.total * m.n == product(large);
  for (int64_t k = 0; ok && k < m.kept.total; k++) {
    for (int64_t r = 0; r < m.repeated.total; r++) {
      for (int64_t j = 0; j < m.n; j++) {
        const int64_t at = m.kept.offset(k) + m.repeated.offset(r) + j;
        ok = ok && seen[static_cast<size_t>(at)]++ == 0 && plainOffset(ts, tl, at) == (m.inner ? k * m.n + j : k);
      }
    }
  }
  check(ok, what);
}

// Where the definition of permute finds each element of y.
std::vector<int64_t> sources(const Dims& dims, const std::vector<int>& order) {
  const size_t k = dims.size();
  Dims stride(k, 1);
  for (size_t i = k; i-- > 1;) stride[i - 1] = stride[i] * dims[i];
  std::vector<int64_t> from(static_cast<size_t>(product(dims)));
  for (size_t e = 0; e < from.size(); e++) {
    int64_t rest = static_cast<int64_t>(e);
    for (size_t i = k; i-- > 0;) {
      const size_t d = static_cast<size_t>(order[i]);
      from[e] += rest % dims[d] * stride[d];
      rest /= dims[d];
    }
  }
  return from;
}

void permutes(const char* what, const Dims& dims, const std::vector<int>& order, int merged) {
  op::Dims o{};
  o.n = static_cast<int32_t>(order.size());
  for (size_t i = 0; i < order.size(); i++) o.d[i] = order[i];
  const plan::Permutation p = plan::permutationOf(shaped(dims), o);
  const std::vector<int64_t> want = sources(dims, order);
  const int64_t total = product(dims);
  const plan::Rows rows = plan::rowsOf(p);
  std::vector<int64_t> byRows(want.size(), -1), byTiles(want.size(), -1);
  for (int64_t r = 0; r < rows.start.total; r++) {
    int64_t f, t;
    rows.start.at(r, &f, &t);
    for (int64_t j = 0; j < rows.n; j++) byRows[static_cast<size_t>(t + j)] = f + j;
  }
  check(p.k == merged && rows.n * rows.start.total == total && byRows == want, what, "rows");
  if (p.keepsRows()) return;
  const plan::Transpose x = plan::transposeOf(p);
  for (int64_t m = 0; m < x.batch.total; m++) {
    int64_t f, t;
    x.batch.at(m, &f, &t);
    for (int64_t a = 0; a < x.na; a++) {
      for (int64_t b = 0; b < x.nb; b++) byTiles[static_cast<size_t>(t + a * x.ys + b)] = f + b * x.xs + a;
    }
  }
  check(x.na * x.nb * x.batch.total == total && byTiles == want, what, "transposes");
}

void splits() {
  const NsTensor t = shaped({2, 3, 4, 5});
  const plan::Split s = plan::splitAt(t, 1), last = plan::splitAt(t, -1);
  check(s.outer == 2 && s.n == 3 && s.inner == 20, "an axis from the front");
  check(last.outer == 24 && last.n == 5 && last.inner == 1, "an axis from the end");
}
}  // namespace

int main() {
  broadcasts("equal shapes are one row", {2, 3, 4}, {2, 3, 4}, {2, 3, 4}, 24, 0);
  broadcasts("a vector along the last dim", {2, 3, 4}, {4}, {2, 3, 4}, 4, 1);
  broadcasts("a column", {6, 5}, {6, 1}, {6, 5}, 5, 1);
  broadcasts("one value", {6, 5}, {1}, {6, 5}, 30, 0);
  broadcasts("both repeated", {2, 1, 5}, {4, 1}, {2, 4, 5}, 5, 2);
  broadcasts("dims of 1 do not count", {1, 3, 1, 4}, {3, 1, 4}, {1, 3, 1, 4}, 12, 0);
  broadcasts("alternating", {2, 1, 3, 1, 2, 1}, {1, 3, 1, 2, 1, 2}, {2, 3, 3, 2, 2, 2}, 2, 5);
  broadcasts("scalars", {}, {}, {}, 1, 0);
  keeps("all kept", {2, 3, 4}, {2, 3, 4}, 24, true);
  keeps("all repeated", {2, 3, 4}, {1}, 24, false);
  keeps("rows repeated", {6, 5, 4}, {4}, 4, true);
  keeps("columns repeated", {6, 5, 4}, {6, 1, 1}, 20, false);
  keeps("alternating kinds", {2, 3, 4, 5}, {3, 1, 5}, 5, true);
  permutes("the identity", {2, 3, 4}, {0, 1, 2}, 1);
  permutes("a transpose", {3, 4}, {1, 0}, 2);
  permutes("heads", {2, 3, 4, 5}, {0, 2, 1, 3}, 4);
  permutes("channels last", {2, 3, 4, 5}, {0, 2, 3, 1}, 3);
  permutes("reversed", {2, 3, 4, 5, 6}, {4, 3, 2, 1, 0}, 5);
  permutes("dims of 1", {1, 7, 1, 2}, {2, 3, 0, 1}, 2);
  permutes("only dims of 1", {1, 1}, {1, 0}, 1);
  splits();
  return ns::test::finish();
}

// Division by known numbers, offsets of merged dims: plain host code that every copy and broadcast relies on.
#include <random>
#include <vector>

#include "cuda/kernels/walk.h"
#include "native/test/check.h"

using namespace ns;
using namespace ns::cuda;
using ns::test::check;

namespace {
std::mt19937_64 rng(3);

void divisions() {
  const int64_t top = INT64_C(0x80000000);
  const auto same = [](int64_t d, int64_t limit, int64_t n) {
    if (n < 0 || n >= limit) return true;
    return Divider(d, limit).quotient(n) == n / d;
  };
  std::vector<int64_t> divisors{1, 2, 3, 5, 7, 641, 65535, 65536, 65537, 0x55555555, top / 2, top / 2 + 1, top - 1, top, top + 1};
  for (int i = 0; i < 2000; i++) divisors.push_back(1 + static_cast<int64_t>(rng() >> (33 + i % 30)));
  bool narrow = true, wide = true;
  for (const int64_t d : divisors) {
    for (int i = 0; i < 40; i++) {
      const int64_t n = static_cast<int64_t>(rng() >> 33), m = static_cast<int64_t>(rng() >> 20), multiple = n / d * d;
      for (const int64_t near : {n, multiple - 1, multiple, multiple + 1, top - 1}) narrow = narrow && same(d, top, near);
      for (const int64_t near : {m, m / d * d, m / d * d - 1, top, top - 1}) wide = wide && same(d, INT64_C(1) << 44, near);
    }
  }
  check(narrow, "quotients below 2^31");
  check(wide, "quotients above 2^31");
}

NsTensor shaped(std::vector<int64_t> dims) {
  NsTensor t{nullptr, 0, static_cast<int32_t>(dims.size()), {}};
  for (size_t i = 0; i < dims.size(); i++) t.dims[i] = dims[i];
  return t;
}

// The element of an operand that belongs to element i of y.
int64_t plainOffset(const NsTensor& t, const NsTensor& y, int64_t i) {
  int64_t at = 0, run = 1;
  for (int d = 0; d < y.ndim; d++) {
    const int64_t n = dimFromEnd(y, d), own = dimFromEnd(t, d), c = i % n;
    if (own != 1) at += c * run;
    run *= own;
    i /= n;
  }
  return at;
}

void merges(const char* what, std::vector<int64_t> a, std::vector<int64_t> b, std::vector<int64_t> y, int64_t n, int outer) {
  const NsTensor ta = shaped(a), tb = shaped(b), ty = shaped(y);
  const Broadcast m = mergeDims(ta, tb, ty);
  int64_t total = 1;
  for (const int64_t d : y) total *= d;
  bool ok = m.n == n && m.rows.k == outer && m.n * m.rows.total == total;
  for (int64_t i = 0; ok && i < total; i++) {
    int64_t ao, bo;
    m.rows.at(i / m.n, &ao, &bo);
    ok = ao + (m.aStep ? i % m.n : 0) == plainOffset(ta, ty, i) && bo + (m.bStep ? i % m.n : 0) == plainOffset(tb, ty, i);
  }
  check(ok, what);
}
}  // namespace

int main() {
  divisions();
  merges("equal shapes are one row", {2, 3, 4}, {2, 3, 4}, {2, 3, 4}, 24, 0);
  merges("a vector along the last dim", {2, 3, 4}, {4}, {2, 3, 4}, 4, 1);
  merges("a column", {6, 5}, {6, 1}, {6, 5}, 5, 1);
  merges("one value", {6, 5}, {1}, {6, 5}, 30, 0);
  merges("both repeated", {2, 1, 5}, {4, 1}, {2, 4, 5}, 5, 2);
  merges("dims of 1 do not count", {1, 3, 1, 4}, {3, 1, 4}, {1, 3, 1, 4}, 12, 0);
  merges("alternating", {2, 1, 3, 1, 2, 1}, {1, 3, 1, 2, 1, 2}, {2, 3, 3, 2, 2, 2}, 2, 5);
  merges("scalars", {}, {}, {}, 1, 0);
  return ns::test::finish();
}

// Division by known numbers and offsets by it: plain host code that every copy and broadcast relies on.
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

// The same positions as the host counts them.
void walks(const char* what, int64_t limit) {
  plan::Positions p;
  for (const int64_t n : {5, 1, 7, 12}) p.add(n, static_cast<int64_t>(rng() % 1000), static_cast<int64_t>(rng() % (limit / 4)));
  const Walk w = walkOf(p, limit);
  bool ok = w.total == p.total && w.k == p.k;
  for (int64_t i = 0; ok && i < p.total; i++) {
    int64_t f, t, from, to;
    p.at(i, &f, &t);
    w.at(i, &from, &to);
    ok = f == from && t == to && p.offset(i) == f;
  }
  check(ok, what);
}
}  // namespace

int main() {
  divisions();
  walks("positions below 2^31", 5000);
  walks("positions above 2^31", INT64_C(1) << 40);
  return ns::test::finish();
}

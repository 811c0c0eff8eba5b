// reshape, permute, slice, concat, write_slice, embedding on every SIMD target.
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;
namespace k = ns::cpu::kernels;

namespace {
using Dims = std::vector<int64_t>;

Tensor numbered(const Dims& dims, DType type, unsigned seed = 1) {
  Tensor t(dims, type);
  uint32_t s = seed;
  for (size_t i = 0; i < t.bytes; i++) {
    s = s * 1664525u + 1013904223u;
    t.as<unsigned char>()[i] = static_cast<unsigned char>(s >> 24);
  }
  return t;
}

bool sameElement(Tensor& a, int64_t i, Tensor& b, int64_t j) {
  const int64_t size = static_cast<int64_t>(dtypeSize(static_cast<DType>(a.t.dtype)));
  return std::memcmp(a.as<char>() + i * size, b.as<char>() + j * size, static_cast<size_t>(size)) == 0;
}

void permuteCase(const Dims& dims, const std::vector<int>& order, DType type, const char* target) {
  Tensor x = numbered(dims, type);
  const size_t n = dims.size();
  Dims yd(n), stride(n);
  int64_t run1 = 1;
  for (size_t i = n; i-- > 0;) {
    stride[i] = run1;
    run1 *= dims[i];
  }
  op::permute::Params p{};
  p.order.n = static_cast<int32_t>(n);
  for (size_t i = 0; i < n; i++) {
    p.order.d[i] = order[i];
    yd[i] = dims[static_cast<size_t>(order[i])];
  }
  Tensor y(yd, type), y2(yd, type);
  check(run(1, &k::permute, p, {&x}, {&y}).ok(), "permute runs");
  run(2, &k::permute, p, {&x}, {&y2});
  check(same(y, y2), "permute: threads change bits");
  int64_t bad = 0;
  for (int64_t i = 0; i < y.size(); i++) {
    int64_t rest = i, from = 0;
    for (size_t j = n; j-- > 0;) {
      from += rest % yd[j] * stride[static_cast<size_t>(order[j])];
      rest /= yd[j];
    }
    bad += !sameElement(y, i, x, from);
  }
  std::string name = std::string(target) + " " + dtypeName(type);
  for (size_t i = 0; i < n; i++) name += " " + std::to_string(dims[i]) + "->" + std::to_string(order[i]);
  check(bad == 0, "permute", name + ": " + std::to_string(bad) + " wrong");
}

void testPermute(const char* target) {
  for (const DType type : {DType::f32, DType::f16, DType::u8}) {
    permuteCase({2, 3, 5}, {2, 0, 1}, type, target);
    permuteCase({37, 65}, {1, 0}, type, target);
    permuteCase({2, 17, 16, 3}, {0, 3, 1, 2}, type, target);
    permuteCase({2, 40, 9, 11}, {0, 2, 3, 1}, type, target);
    permuteCase({130, 131}, {1, 0}, type, target);
    permuteCase({1, 1, 1}, {2, 1, 0}, type, target);
    permuteCase({4, 6}, {0, 1}, type, target);
    permuteCase({7}, {0}, type, target);
    permuteCase({2, 3, 4, 5}, {0, 2, 1, 3}, type, target);
    permuteCase({2, 1, 4, 1, 3, 2}, {5, 3, 1, 0, 4, 2}, type, target);
  }
  Rng rng(11);
  for (int c = 0; c < 40; c++) {
    Dims dims;
    std::vector<int> order;
    const int n = 2 + static_cast<int>(rng.next() % 5);
    for (int i = 0; i < n; i++) {
      dims.push_back(1 + static_cast<int64_t>(rng.next() % 9));
      order.insert(order.begin() + static_cast<int64_t>(rng.next() % (order.size() + 1)), i);
    }
    permuteCase(dims, order, DType::i32, target);
  }
}

// slice of a concat gives the parts back; write_slice changes its range and nothing else.
void testSlices() {
  for (const DType type : {DType::f32, DType::bf16, DType::u8}) {
    for (const Dims& s : {Dims{4, 9, 5}, Dims{3, 40, 700}, Dims{1, 3, 1}}) {
      for (int32_t axis = 0; axis < 3; axis++) {
        Dims bd = s, yd = s;
        bd[static_cast<size_t>(axis)] = 2;
        yd[static_cast<size_t>(axis)] += 2;
        Tensor a = numbered(s, type), b = numbered(bd, type, 7), y(yd, type), a2(s, type), b2(bd, type);
        const int32_t n = static_cast<int32_t>(s[static_cast<size_t>(axis)]);
        check(run(2, &k::concat, op::concat::Params{axis}, {&a, &b}, {&y}).ok(), "concat runs");
        run(1, &k::slice, op::slice::Params{axis, 0, n}, {&y}, {&a2});
        run(2, &k::slice, op::slice::Params{axis, n, 2}, {&y}, {&b2});
        check(same(a, a2) && same(b, b2), "slice of concat", dtypeName(type));
        Tensor c = numbered(bd, type, 9), left(s, type), right(bd, type), start(bd, type);
        run(2, &k::write_slice, op::write_slice::Params{axis, n}, {&y, &c}, {});
        run(1, &k::slice, op::slice::Params{axis, 0, n}, {&y}, {&left});
        run(1, &k::slice, op::slice::Params{axis, n, 2}, {&y}, {&right});
        check(same(left, a) && same(right, c), "write_slice at the end", dtypeName(type));
        run(1, &k::write_slice, op::write_slice::Params{axis, 0}, {&y, &b}, {});
        run(1, &k::slice, op::slice::Params{axis, 0, 2}, {&y}, {&start});
        run(1, &k::slice, op::slice::Params{axis, n, 2}, {&y}, {&right});
        check(same(start, b) && (n < 2 || same(right, c)), "write_slice at the start", dtypeName(type));
      }
    }
    Tensor x = numbered({5, 30011}, type), y({30011, 5}, type);
    check(run(2, &k::reshape, op::reshape::Params{}, {&x}, {&y}).ok() && same(x, y), "reshape", dtypeName(type));
  }
  Tensor a({2, 3, 4}), b({2, 5, 4}), y({2, 8, 4});
  a.fill([](int64_t i) { return static_cast<double>(i); });
  b.fill([](int64_t i) { return 100 + static_cast<double>(i); });
  run(1, &k::concat, op::concat::Params{-2}, {&a, &b}, {&y});
  check(y.as()[11] == 11 && y.as()[12] == 100 && y.as()[32] == 12 && y.as()[44] == 120, "concat by hand");
}

void testEmbedding() {
  const int64_t V = 11, C = 33;
  Tensor table({V, C}), idx({2, 7}, DType::i32), y({2, 7, C});
  table.fill([](int64_t i) { return static_cast<double>(i % 251); });  // exact in 16 bits too
  idx.fill([](int64_t i) { return static_cast<double>(i * 5 % 11); });
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    Tensor t({V, C}, type);
    run(1, &k::cast, op::cast::Params{type}, {&table}, {&t});
    check(run(2, &k::embedding, op::embedding::Params{}, {&t, &idx}, {&y}).ok(), "embedding runs");
    int64_t bad = 0;
    for (int64_t i = 0; i < y.size(); i++) bad += y.as()[i] != table.as()[idx.as<int32_t>()[i / C] * C + i % C];
    check(bad == 0, "embedding", dtypeName(type));
  }
  for (const int32_t wrong : {-1, 11, INT32_MAX, INT32_MIN}) {
    Tensor untouched({2, 7, C});
    untouched.fill([](int64_t) { return 7.0; });
    idx.as<int32_t>()[9] = wrong;
    const Status s = run(2, &k::embedding, op::embedding::Params{}, {&table, &idx}, {&untouched});
    const std::string message = s.message;
    check(s.code == NS_INDEX && message.find("idx[9] is " + std::to_string(wrong)) != std::string::npos, "bad index is named", message);
    check(untouched.as()[0] == 7.0f, "nothing is written before the check");
  }
  Tensor bytes({V, C}, DType::u8);
  check(run(1, &k::embedding, op::embedding::Params{}, {&bytes, &idx}, {&y}).code == NS_UNSUPPORTED, "embedding refuses u8");
}
}  // namespace

int main() {
  eachTarget([](const char* target) {
    testPermute(target);
    testEmbedding();
  });
  testSlices();
  return finish();
}

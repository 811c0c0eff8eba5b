// 16-bit activations: a call through the backend's table gives the bits of casting, the f32 call and one rounding.
#include "native/core/registry.h"
#include "native/cpu/widen.h"
#include "native/test/kernel_check.h"

using namespace ns;
using namespace ns::test;

namespace {

struct Device {
  const NsBackend* table = cpuBackend();
  void* self;
  explicit Device(int threads) {
    NsConfig config{threads, 0, nullptr};
    NsStatus status{};
    self = table->create(&config, &status);
    check(self != nullptr, "device");
  }
  Device(const Device&) = delete;
  ~Device() { table->destroy(self); }

  template <class P>
  NsStatus call(int32_t op, const P& params, const std::vector<Tensor*>& in, const std::vector<Tensor*>& out) {
    std::vector<NsTensor> i, o;
    for (Tensor* t : in) i.push_back(t->ref());
    for (Tensor* t : out) o.push_back(t->ref());
    const NsCall c{op, static_cast<int32_t>(i.size()), static_cast<int32_t>(o.size()), i.data(), o.data(), &params};
    NsStatus status{};
    table->execute(self, &c, &status);
    for (const std::vector<Tensor*>* list : {&in, &out}) {
      for (Tensor* t : *list) check(!t->bytes || t->intact(), "sentinels");
    }
    return status;
  }

  Tensor as(Tensor& x, DType to) {
    Tensor y(std::vector<int64_t>(x.t.dims, x.t.dims + x.t.ndim), to);
    check(call(op::cast::kId, op::cast::Params{to}, {&x}, {&y}).code == NS_OK, "cast");
    return y;
  }
  Tensor noise(const std::vector<int64_t>& dims, DType type, uint64_t seed) {
    Rng rng(seed);
    Tensor x(dims);
    return as(x.normal(rng), type);
  }
};

void testUnary(Device& d, DType type) {
  Tensor x = d.noise({3, 16411}, type, 1), y({3, 16411}, type), wide({3, 16411});
  const op::unary::Params p{op::unary::Fn::gelu};
  check(d.call(op::unary::kId, p, {&x}, {&y}).code == NS_OK, "unary in 16 bits");
  Tensor x32 = d.as(x, DType::f32);
  check(d.call(op::unary::kId, p, {&x32}, {&wide}).code == NS_OK, "unary in f32");
  Tensor want = d.as(wide, type);
  check(same(y, want), "unary is rounded once", dtypeName(type));
}

void testAccumulate(Device& d, DType type) {
  Tensor y = d.noise({777}, type, 2), x = d.noise({777}, type, 3);
  Tensor y32 = d.as(y, DType::f32), x32 = d.as(x, DType::f32), before = x;
  const op::accumulate::Params p{0.25f, 0.5f};
  check(d.call(op::accumulate::kId, p, {&y, &x}, {}).code == NS_OK, "accumulate in 16 bits");
  check(d.call(op::accumulate::kId, p, {&y32, &x32}, {}).code == NS_OK, "accumulate in f32");
  Tensor want = d.as(y32, type);
  check(same(y, want), "accumulate changes y in place", dtypeName(type));
  check(same(x, before), "accumulate leaves x");
  const op::accumulate::Params twice{1.0f, 1.0f};
  check(d.call(op::accumulate::kId, twice, {&y, &y}, {}).code == NS_OK, "accumulate with itself");
  Tensor doubled({777}), half = d.as(want, DType::f32);
  for (int i = 0; i < 777; i++) doubled.as()[i] = 2 * half.as()[i];
  want = d.as(doubled, type);
  check(same(y, want), "accumulate with itself doubles");
}

// x of one dtype, y of another, and a residual that is an activation too.
void testLinear(Device& d, DType xType, DType rType, DType yType) {
  Tensor x = d.noise({2, 5, 40}, xType, 4), w = d.noise({33, 40}, DType::f32, 5), r = d.noise({2, 5, 33}, rType, 6);
  Tensor packed({3, 40, 16}, DType::bf16), none, y({2, 5, 33}, yType), wide({2, 5, 33});
  check(d.call(op::linear_pack::kId, op::linear_pack::Params{DType::bf16, 0}, {&w}, {&packed}).code == NS_OK, "linear_pack");
  const op::linear::Params p{33, op::linear::Act::silu, 0, yType};
  check(d.call(op::linear::kId, p, {&x, &packed, &none, &none, &r}, {&y}).code == NS_OK, "linear in 16 bits");
  Tensor x32 = d.as(x, DType::f32), r32 = d.as(r, DType::f32);
  check(d.call(op::linear::kId, p, {&x32, &packed, &none, &none, &r32}, {&wide}).code == NS_OK, "linear in f32");
  Tensor want = d.as(wide, yType);
  check(same(y, want), "linear", std::string(dtypeName(xType)) + " " + dtypeName(rType) + " " + dtypeName(yType));
}

// The caches keep their own dtype: they are no activations.
void testAttention(Device& d, DType type, DType cacheType) {
  const int H = 2, c = 24, l = 7, rows = 12;
  Tensor qkv = d.noise({1, l, 3 * H * c}, type, 7), k = d.noise({1, H, rows, c}, cacheType, 8), v = d.noise({1, H, rows, c}, cacheType, 9);
  Tensor k2 = k, v2 = v, none, y({1, l, H * c}, type), wide({1, l, H * c});
  const op::attention::Params p{H, c, 0.2f, 4.6f, 4, 1};
  check(d.call(op::attention::kId, p, {&qkv, &none, &none, &k, &v, &none}, {&y}).code == NS_OK, "attention in 16 bits");
  Tensor qkv32 = d.as(qkv, DType::f32);
  check(d.call(op::attention::kId, p, {&qkv32, &none, &none, &k2, &v2, &none}, {&wide}).code == NS_OK, "attention in f32");
  Tensor want = d.as(wide, type);
  check(same(y, want) && same(k, k2) && same(v, v2), "attention and its caches", dtypeName(type));
}

NsCall callOf(int32_t op, NsTensor* in, int n, NsTensor* out) { return NsCall{op, n, 1, in, out, nullptr}; }

void testNeeds() {
  char byte = 0;
  const auto t = [&](DType type) { return NsTensor{&byte, static_cast<int32_t>(type), 1, {1}}; };
  const auto needs = [&](int32_t op, DType a, DType b, DType y) {
    NsTensor in[] = {t(a), t(b)}, out = t(y);
    return cpu::needsWidening(callOf(op, in, 2, &out));
  };
  check(!needs(op::linear::kId, DType::f32, DType::bf16, DType::f32), "a weight is no activation");
  check(needs(op::linear::kId, DType::f32, DType::bf16, DType::f16), "an output is");
  check(needs(op::linear::kId, DType::bf16, DType::f32, DType::f32), "an input is");
  check(!needs(op::binary::kId, DType::i32, DType::i32, DType::i32), "integers are not");
  check(!needs(op::cast::kId, DType::f16, DType::f16, DType::bf16), "cast is native");
  check(!needs(op::concat::kId, DType::f16, DType::f16, DType::f16), "layout is native");
  check(!needs(op::embedding::kId, DType::f16, DType::i32, DType::f32), "a table is native");
  check(!needs(7, DType::f16, DType::f16, DType::f16), "an unknown op is left to the dispatch");
}

void testMemory(Device& d) {
  uint16_t x[4] = {1, 2, 3, 4}, y[4] = {5, 6, 7, 8};
  NsTensor in{x, static_cast<int32_t>(DType::f16), 2, {int64_t{1} << 30, int64_t{1} << 30}}, out = in;
  out.data = y;
  const op::unary::Params p{op::unary::Fn::abs};
  NsCall call = callOf(op::unary::kId, &in, 1, &out);
  call.params = &p;
  NsStatus status{};
  d.table->execute(d.self, &call, &status);
  check(status.code == NS_OUT_OF_MEMORY && y[0] == 5, "no memory for the copies");
  testUnary(d, DType::bf16);
}

}  // namespace

int main() {
  for (const int threads : {1, 3}) {
    Device d(threads);
    for (const DType type : {DType::f16, DType::bf16}) {
      testUnary(d, type);
      testAccumulate(d, type);
      testAttention(d, type, DType::f32);
      testAttention(d, type, type);
    }
    testLinear(d, DType::bf16, DType::f32, DType::f32);
    testLinear(d, DType::f32, DType::f16, DType::bf16);
    testLinear(d, DType::f16, DType::bf16, DType::f16);
    testLinear(d, DType::f32, DType::f32, DType::f16);
    testMemory(d);
  }
  testNeeds();
  return finish();
}

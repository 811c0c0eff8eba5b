// Ops that move rows or resample: permutations and slices of every element size, rows by index with repeated and wrong indices, the
// resampling and its transpose.
#include "cuda/test/device_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {
using Values = std::vector<double>;

std::mt19937 rng(13);

// Elements of 1, 2 or 4 bytes that are only moved, `shift` elements past an aligned address.
struct Raw {
  std::vector<int64_t> dims;
  DType type;
  int64_t n = 1;
  size_t before;
  char* data = nullptr;
  Raw(std::vector<int64_t> d, DType t, int shift = 0) : dims(std::move(d)), type(t), before(static_cast<size_t>(shift) * dtypeSize(t)) {
    for (const int64_t i : dims) n *= i;
    cudaMalloc(reinterpret_cast<void**>(&data), before + static_cast<size_t>(n) * dtypeSize(t));
  }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;
  ~Raw() { cudaFree(data); }
  NsTensor tensor() const {
    NsTensor t{data + before, static_cast<int32_t>(type), static_cast<int32_t>(dims.size()), {}};
    for (size_t i = 0; i < dims.size(); i++) t.dims[i] = dims[i];
    return t;
  }
  void set(const std::vector<uint32_t>& v) {
    std::vector<char> bytes(static_cast<size_t>(n) * dtypeSize(type));
    for (size_t i = 0; i < v.size(); i++) memcpy(bytes.data() + i * dtypeSize(type), &v[i], dtypeSize(type));
    cudaMemcpy(data + before, bytes.data(), bytes.size(), cudaMemcpyHostToDevice);
  }
  std::vector<uint32_t> random() {
    std::vector<uint32_t> v(static_cast<size_t>(n));
    const uint32_t mask = dtypeSize(type) == 4 ? ~0u : (1u << dtypeSize(type) * 8) - 1;
    for (uint32_t& x : v) x = static_cast<uint32_t>(rng()) & mask;
    set(v);
    return v;
  }
  std::vector<uint32_t> get() const {
    std::vector<uint32_t> v(static_cast<size_t>(n));
    std::vector<char> bytes(static_cast<size_t>(n) * dtypeSize(type));
    cudaMemcpy(bytes.data(), data + before, bytes.size(), cudaMemcpyDeviceToHost);
    for (size_t i = 0; i < v.size(); i++) memcpy(&v[i], bytes.data() + i * dtypeSize(type), dtypeSize(type));
    return v;
  }
};

template <class P>
bool call(Status (*op)(const Context&, const NsCall&, const P&), const P& p, const std::vector<NsTensor>& in,
          const std::vector<NsTensor>& out) {
  const NsCall c{TestDevice::kOp, static_cast<int32_t>(in.size()), static_cast<int32_t>(out.size()), in.data(), out.data(), &p};
  return op(device.context(), c, p).ok() && cudaStreamSynchronize(nullptr) == cudaSuccess;
}

void permutes(std::vector<int64_t> dims, std::vector<int32_t> order, DType type, int shift) {
  std::vector<int64_t> to;
  op::permute::Params p{};
  p.order.n = static_cast<int32_t>(order.size());
  for (size_t i = 0; i < order.size(); i++) to.push_back(dims[static_cast<size_t>(p.order.d[i] = order[i])]);
  Raw x(dims, type, shift), y(to, type);
  const std::vector<uint32_t> v = x.random();
  bool ok = call(ops::permute, p, {x.tensor()}, {y.tensor()});
  const std::vector<uint32_t> got = y.get();
  for (int64_t i = 0; ok && i < y.n; i++) {
    int64_t at[6] = {}, rest = i, from = 0;
    for (size_t d = order.size(); d-- > 0; rest /= to[d]) at[order[d]] = rest % to[d];
    for (size_t d = 0; d < dims.size(); d++) from = from * dims[d] + at[d];
    ok = got[static_cast<size_t>(i)] == v[static_cast<size_t>(from)];
  }
  check(ok, "permute", std::string(dtypeName(type)) + " " + std::to_string(dims[0]) + " " + std::to_string(order[0]));
}

// [outer, n, inner] cut in two along the middle, put together again, written over.
void slices(int64_t outer, int64_t n, int64_t inner, DType type, int shift) {
  const int64_t first = n / 3;
  Raw x({outer, n, inner}, type, shift), a({outer, first, inner}, type), b({outer, n - first, inner}, type, shift),
      y({outer, n, inner}, type);
  const std::vector<uint32_t> v = x.random();
  const auto start = static_cast<int32_t>(first), rest = static_cast<int32_t>(n - first);
  bool ok = call(ops::slice, {1, 0, start}, {x.tensor()}, {a.tensor()}) && call(ops::slice, {-2, start, rest}, {x.tensor()}, {b.tensor()});
  ok = ok && call(ops::concat, {1}, {a.tensor(), b.tensor()}, {y.tensor()}) && y.get() == v;
  check(ok, "slice and concat", std::to_string(n) + "x" + std::to_string(inner));
  y.random();
  ok = call(ops::write_slice, {1, 0}, {y.tensor(), a.tensor()}, {}) && call(ops::write_slice, {1, start}, {y.tensor(), b.tensor()}, {});
  check(ok && y.get() == v, "write_slice", std::to_string(n) + "x" + std::to_string(inner));
}

void rowsByIndex(int64_t V, int64_t C, int64_t n, int shift) {
  Raw idx({n}, DType::i32, shift);
  std::vector<uint32_t> at(static_cast<size_t>(n));
  for (uint32_t& i : at) i = static_cast<uint32_t>(rng() % static_cast<uint64_t>(V));
  for (size_t i = 0; i < at.size() / 2; i++) at[i] = static_cast<uint32_t>(V - 1);  // one index very often
  idx.set(at);
  Buffer table({V, C}, DType::f32, shift), dy({n, C}, DType::f32), y({n, C}, DType::f32, shift), counts({V}, DType::f32, shift);
  const Values t = table.random(rng), g = dy.random(rng);
  Values sum = t, last = t, rows, often(static_cast<size_t>(V));
  for (int64_t i = 0; i < n * C; i++) {
    const size_t to = static_cast<size_t>(at[static_cast<size_t>(i / C)] * C + i % C);
    rows.push_back(t[to]);
    sum[to] = static_cast<float>(sum[to]) + static_cast<float>(g[static_cast<size_t>(i)]);
    last[to] = g[static_cast<size_t>(i)];
    if (i % C == 0) often[at[static_cast<size_t>(i / C)]]++;
  }
  const std::string what = std::to_string(V) + "x" + std::to_string(C) + " n " + std::to_string(n);
  check(call(ops::embedding, {}, {table.tensor(), idx.tensor()}, {y.tensor()}) && y.get() == rows && y.guarded(), "embedding", what);
  check(call(ops::bincount, {static_cast<int32_t>(V)}, {idx.tensor()}, {counts.tensor()}) && counts.get() == often, "bincount", what);
  check(call(ops::embedding_grad, {}, {idx.tensor(), dy.tensor(), table.tensor()}, {}), "embedding_grad runs", what);
  check(table.get() == sum && table.guarded(), "embedding_grad has the bits of sums in the order of idx", what);
  table.set(t);
  check(call(ops::scatter_rows, {}, {table.tensor(), idx.tensor(), dy.tensor()}, {}) && table.get() == last, "scatter_rows", what);
  check(device.takeError().code == 0 && table.guarded() && counts.guarded(), "no error", what);
}

void wrongIndices() {
  Raw idx({5}, DType::i32);
  Buffer table({4, 8}, DType::f32), dy({5, 8}, DType::f32), y({5, 8}, DType::f32), counts({4}, DType::f32);
  const Values t = table.random(rng);
  dy.random(rng);
  for (const int32_t bad : {4, -1, INT32_MAX, INT32_MIN}) {
    idx.set({0, 3, 1, static_cast<uint32_t>(bad), 0});
    const auto told = [&] {
      const DeviceError e = device.takeError();
      return e.code == NS_INDEX && e.op == TestDevice::kOp && e.at == 3 && e.value == bad;
    };
    call(ops::embedding, {}, {table.tensor(), idx.tensor()}, {y.tensor()});
    const Values v = y.get();
    bool ok = told() && y.guarded();
    for (size_t i = 0; i < v.size(); i++) ok = ok && std::isnan(v[i]) == (i / 8 == 3);
    check(ok, "embedding names a wrong index; its row is NaN");
    call(ops::bincount, {4}, {idx.tensor()}, {counts.tensor()});
    check(told() && counts.get() == Values({2, 1, 0, 1}), "bincount names a wrong index");
    call(ops::embedding_grad, {}, {idx.tensor(), dy.tensor(), table.tensor()}, {});
    table.get();
    check(told() && table.guarded(), "embedding_grad names a wrong index");
    call(ops::scatter_rows, {}, {table.tensor(), idx.tensor(), dy.tensor()}, {});
    table.get();
    check(told() && table.guarded(), "scatter_rows names a wrong index");
    table.set(t);
  }
}

// <dy, interpolate(x)> = <interpolate_grad(dy), x>
void transposes(op::interpolate::Mode mode, int64_t h, int64_t w, int64_t H, int64_t W, int64_t C) {
  Buffer x({2, h, w, C}, DType::f32), y({2, H, W, C}, DType::f32), dy({2, H, W, C}, DType::f32), dx({2, h, w, C}, DType::f32);
  const Values v = x.random(rng), g = dy.random(rng);
  const auto gradMode = static_cast<op::interpolate_grad::Mode>(mode);
  bool ok = call(ops::interpolate, {mode, static_cast<int32_t>(H), static_cast<int32_t>(W)}, {x.tensor()}, {y.tensor()}) &&
            call(ops::interpolate_grad, {gradMode, static_cast<int32_t>(h), static_cast<int32_t>(w)}, {dy.tensor()}, {dx.tensor()});
  const Values u = y.get(), d = dx.get();
  double a = 0, b = 0, size = 1;
  for (size_t i = 0; i < u.size(); i++) a += u[i] * g[i], size += std::abs(u[i] * g[i]);
  for (size_t i = 0; i < v.size(); i++) b += v[i] * d[i];
  ok = ok && std::abs(a - b) < 1e-6 * size && y.guarded() && dx.guarded();
  check(ok, "interpolate and its gradient",
        std::to_string(h) + "x" + std::to_string(w) + " to " + std::to_string(H) + "x" + std::to_string(W));
}
}  // namespace

int main() {
  for (const DType t : {DType::f32, DType::bf16, DType::u8}) {
    for (const int shift : {0, 1}) {
      permutes({70, 33}, {1, 0}, t, shift);
      permutes({2, 40, 3}, {0, 2, 1}, t, shift);
      permutes({2, 3, 40}, {0, 2, 1}, t, shift);
      permutes({3, 5, 4, 16}, {0, 2, 1, 3}, t, shift);
      permutes({2, 9, 11, 3, 10}, {4, 1, 3, 0, 2}, t, shift);
      permutes({2, 1, 33, 8, 9}, {2, 0, 1, 4, 3}, t, shift);
      permutes({1, 7, 1}, {2, 1, 0}, t, shift);
      slices(3, 9, 16, t, shift);
      slices(1, 9, 5, t, shift);
      slices(70, 7, 1, t, shift);
    }
  }
  rowsByIndex(11, 33, 300, 1);
  rowsByIndex(5, 64, 5000, 0);
  rowsByIndex(300, 4, 2049, 0);
  rowsByIndex(3, 1028, 40, 0);
  wrongIndices();
  using Mode = op::interpolate::Mode;
  for (const Mode mode : {Mode::area, Mode::bicubic, Mode::nearest}) {
    for (const int64_t n : {1, 2, 3, 5, 8, 13, 16}) {
      for (const int64_t m : {1, 2, 4, 6, 7, 10, 16, 33}) transposes(mode, n, m, m, n, n == 8 ? 3 : 4);
    }
  }
  return ns::test::finish();
}

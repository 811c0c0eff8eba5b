// The way to cuBLASLt: own declarations against its header where there is one, and calls of a library made of plain loops that follows its
// documentation (column-major, operations, leading dimensions, bias per row), with every kind of failure.
#include "cuda/kernels/gemm.h"
#include "cuda/libraries/blas.h"
#include "cuda/test/device_check.h"

#if !defined(NS_EMULATED) && __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace lt = ns::cuda::lt;
template <class A, class B>
constexpr bool same(A a, B b) {
  return static_cast<int64_t>(a) == static_cast<int64_t>(b);
}
static_assert(sizeof(lt::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t) && sizeof(lt::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(offsetof(lt::Heuristic, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(lt::Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(same(lt::kReal32, CUDA_R_32F) && same(lt::kReal16, CUDA_R_16F) && same(lt::kBrain16, CUDA_R_16BF));
static_assert(same(lt::kCompute32, CUBLAS_COMPUTE_32F) && same(lt::kComputeTf32, CUBLAS_COMPUTE_32F_FAST_TF32));
static_assert(same(lt::kAsIs, CUBLAS_OP_N) && same(lt::kTransposed, CUBLAS_OP_T) && CUBLAS_STATUS_SUCCESS == 0);
static_assert(same(lt::kTransA, CUBLASLT_MATMUL_DESC_TRANSA) && same(lt::kTransB, CUBLASLT_MATMUL_DESC_TRANSB));
static_assert(same(lt::kEpilogue, CUBLASLT_MATMUL_DESC_EPILOGUE) && same(lt::kBiasPointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER));
static_assert(same(lt::kBatchCount, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) &&
              same(lt::kBatchStride, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET));
static_assert(same(lt::kMaxWorkspace, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES));
static_assert(same(lt::kReductionMask, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK));
static_assert(same(lt::kAlignmentA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) &&
              same(lt::kAlignmentD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES));
static_assert(same(lt::kAlignmentB, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES) &&
              same(lt::kAlignmentC, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES));
static_assert(same(lt::kEpilogueBias, CUBLASLT_EPILOGUE_BIAS) && same(lt::kReduceInComputeType, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
// Sizes of the attributes, as the header documents them.
static_assert(sizeof(cublasLtEpilogue_t) == 4 && sizeof(cublasOperation_t) == 4);

// Number, size and kind of the arguments.
template <class R, class... A, class S, class... B>
constexpr bool alike(R (*)(A...), S (*)(B...)) {
  return sizeof...(A) == sizeof...(B) && ((sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>)&&...) &&
         sizeof(R) == sizeof(S);
}
constexpr lt::Api kApi{};
static_assert(alike(kApi.create, &cublasLtCreate) && alike(kApi.destroy, &cublasLtDestroy));
static_assert(alike(kApi.descDestroy, &cublasLtMatmulDescDestroy) && alike(kApi.descSet, &cublasLtMatmulDescSetAttribute));
static_assert(alike(kApi.layoutDestroy, &cublasLtMatrixLayoutDestroy) && alike(kApi.layoutSet, &cublasLtMatrixLayoutSetAttribute));
static_assert(alike(kApi.preferenceDestroy, &cublasLtMatmulPreferenceDestroy));
static_assert(alike(kApi.preferenceSet, &cublasLtMatmulPreferenceSetAttribute));
static_assert(alike(kApi.heuristic, &cublasLtMatmulAlgoGetHeuristic) && alike(kApi.matmul, &cublasLtMatmul));
static_assert(alike(kApi.descCreate, static_cast<cublasStatus_t (*)(cublasLtMatmulDesc_t*, cublasComputeType_t, cudaDataType_t)>(
                                         &cublasLtMatmulDescCreate)));
static_assert(alike(kApi.layoutCreate, static_cast<cublasStatus_t (*)(cublasLtMatrixLayout_t*, cudaDataType, uint64_t, uint64_t, int64_t)>(
                                           &cublasLtMatrixLayoutCreate)));
static_assert(alike(kApi.preferenceCreate, static_cast<cublasStatus_t (*)(cublasLtMatmulPreference_t*)>(&cublasLtMatmulPreferenceCreate)));
#endif

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;

namespace {

void missing() {
  lt::Api api{};
  check(!blas::load("libno-such-library.so.13", api), "a missing library");
  check(!blas::load("libm.so.6", api), "a library without the functions");
}

#ifdef NS_EMULATED  // device memory is memory: plain loops can be a library

struct Fake {
  int created = 0, objects = 0, queries = 0, products = 0;
  bool noHandle = false, noHeuristic = false, noProduct = false;
} fake;

struct Thing {
  int32_t operation[2] = {0, 0};
  uint32_t epilogue = 1;
  const float* bias = nullptr;
  lt::Type type = lt::kReal32;
  uint64_t rows = 0, cols = 0;
  int64_t ld = 0, stride = 0;
  int32_t batch = 1;
  uint64_t workspace = 0;
};
Thing& thing(lt::Object o) { return *static_cast<Thing*>(o); }
lt::Result make(lt::Object* o) { return *o = new Thing, fake.objects++, 0; }
lt::Result drop(lt::Object o) { return delete static_cast<Thing*>(o), fake.objects--, 0; }
template <class T>
lt::Result put(T& to, const void* from, size_t bytes) {
  if (bytes != sizeof(T)) return 7;
  std::memcpy(&to, from, bytes);
  return 0;
}

lt::Result setDesc(lt::Object o, lt::DescAttribute a, const void* v, size_t n) {
  switch (a) {
    case lt::kTransA: return put(thing(o).operation[0], v, n);
    case lt::kTransB: return put(thing(o).operation[1], v, n);
    case lt::kEpilogue: return put(thing(o).epilogue, v, n);
    case lt::kBiasPointer: return put(thing(o).bias, v, n);
  }
  return 7;
}
lt::Result makeLayout(lt::Object* o, lt::Type type, uint64_t rows, uint64_t cols, int64_t ld) {
  make(o);
  Thing& t = thing(*o);
  t.type = type, t.rows = rows, t.cols = cols, t.ld = ld;
  return 0;
}
lt::Result setLayout(lt::Object o, lt::LayoutAttribute a, const void* v, size_t n) {
  return a == lt::kBatchCount ? put(thing(o).batch, v, n) : put(thing(o).stride, v, n);
}
lt::Result setPreference(lt::Object o, lt::PreferenceAttribute a, const void* v, size_t n) {
  uint32_t other;
  return a == lt::kMaxWorkspace ? put(thing(o).workspace, v, n) : put(other, v, n);
}
lt::Result query(lt::Handle, lt::Object, lt::Object, lt::Object, lt::Object, lt::Object, lt::Object preference, int, lt::Heuristic* h,
                 int* found) {
  fake.queries++;
  *h = {};
  h->workspace = thing(preference).workspace / 1024;
  *found = fake.noHeuristic ? 0 : 1;
  return fake.noHeuristic ? 15 : 0;
}

float readAt(const void* p, lt::Type t, int64_t at) {
  if (t == lt::kReal16) return toFloat(static_cast<const f16*>(p)[at]);
  if (t == lt::kBrain16) return toFloat(static_cast<const bf16*>(p)[at]);
  return static_cast<const float*>(p)[at];
}
void writeAt(void* p, lt::Type t, int64_t at, float v) {
  if (t == lt::kReal16) {
    static_cast<f16*>(p)[at] = fromFloat<f16>(v);
  } else if (t == lt::kBrain16) {
    static_cast<bf16*>(p)[at] = fromFloat<bf16>(v);
  } else {
    static_cast<float*>(p)[at] = v;
  }
}

lt::Result compute(lt::Handle, lt::Object desc, const void* alpha, const void* a, lt::Object aLayout, const void* b, lt::Object bLayout,
                   const void* beta, const void* c, lt::Object cLayout, void* d, lt::Object dLayout, const lt::Algorithm*, void* workspace,
                   size_t bytes, cudaStream_t) {
  const Thing &p = thing(desc), &la = thing(aLayout), &lb = thing(bLayout), &lc = thing(cLayout), &ld = thing(dLayout);
  if (fake.noProduct || (bytes && !workspace)) return 14;
  fake.products++;
  const bool ta = p.operation[0] == lt::kTransposed, tb = p.operation[1] == lt::kTransposed;
  const uint64_t m = ta ? la.cols : la.rows, k = ta ? la.rows : la.cols, n = tb ? lb.rows : lb.cols;
  if ((tb ? lb.cols : lb.rows) != k || ld.rows != m || ld.cols != n || la.ld < static_cast<int64_t>(la.rows)) return 7;
  float by, plus;
  std::memcpy(&by, alpha, 4);
  std::memcpy(&plus, beta, 4);
  for (int64_t z = 0; z < ld.batch; z++) {
    for (uint64_t j = 0; j < n; j++) {
      for (uint64_t i = 0; i < m; i++) {
        float s = 0;
        for (uint64_t x = 0; x < k; x++) {
          const auto ia = static_cast<int64_t>(ta ? i * static_cast<uint64_t>(la.ld) + x : x * static_cast<uint64_t>(la.ld) + i);
          const auto ib = static_cast<int64_t>(tb ? x * static_cast<uint64_t>(lb.ld) + j : j * static_cast<uint64_t>(lb.ld) + x);
          s += readAt(a, la.type, z * la.stride + ia) * readAt(b, lb.type, z * lb.stride + ib);
        }
        const int64_t at = z * ld.stride + static_cast<int64_t>(j) * ld.ld + static_cast<int64_t>(i);
        float v = by * s;
        if (plus != 0) v += plus * readAt(c, lc.type, at);
        if (p.epilogue == lt::kEpilogueBias) v += p.bias[i];
        writeAt(d, ld.type, at, v);
      }
    }
  }
  return 0;
}

lt::Api plain() {
  lt::Api api{};
  api.create = [](lt::Handle* h) -> lt::Result { return *h = &fake, fake.created++, fake.noHandle ? 1 : 0; };
  api.destroy = [](lt::Handle) -> lt::Result { return fake.created--, 0; };
  api.descCreate = [](lt::Object* o, lt::Compute, lt::Type) { return make(o); };
  api.descDestroy = api.layoutDestroy = api.preferenceDestroy = drop;
  api.descSet = setDesc;
  api.layoutCreate = makeLayout;
  api.layoutSet = setLayout;
  api.preferenceCreate = make;
  api.preferenceSet = setPreference;
  api.heuristic = query;
  api.matmul = compute;
  return api;
}

GrowingScratch memory;

struct Used {
  int queries, products;
};

// Runs f with and without the library: the same values, and what was asked of it.
template <class F>
Used both(const char* what, Context ctx, Libraries& libraries, Buffer& y, const std::vector<double>& before, double tol, F f) {
  Libraries none;
  none.noBlas = true;
  const Context own{ctx.stream, nullptr, 0, ctx.sms, ctx.arch, ctx.sharedPerBlock, ctx.tf32, false, memory, none};
  const Context with{ctx.stream, nullptr, 0, ctx.sms, ctx.arch, ctx.sharedPerBlock, ctx.tf32, ctx.capturing, memory, libraries};
  y.set(before);
  check(f(own).ok(), what, "own");
  const std::vector<double> want = y.get();
  y.set(before);
  const int queries = fake.queries, products = fake.products;
  check(f(with).ok(), what, "with");
  const double e = errorOf(y.get(), want);
  check(e <= tol && y.guarded() && fake.objects == 0, what, "error " + std::to_string(e));
  return {fake.queries - queries, fake.products - products};
}

struct Setup {
  Libraries libraries;
  Context ctx{nullptr, nullptr, 0, 132, 90, 227 * 1024, false, false, memory, libraries};
  std::mt19937 rng{3};
  Setup() { libraries.blas = blas::open(plain()); }
};

Used linear(Setup& s, const char* what, int64_t m, int64_t n, int64_t k, DType in, DType out, const std::vector<const char*>& with) {
  using In = op::linear::in::Index;
  const auto has = [&](const char* name) {
    for (const char* w : with) {
      if (!std::strcmp(w, name)) return true;
    }
    return false;
  };
  Buffer x({1, m, k}, in), w({(n + 15) / 16, k, 16}, in), y({1, m, n}, out), bias({n}, DType::f32), gate({1, 2, n}, DType::f32),
      residual({1, m, n}, out);
  for (Buffer* b : {&x, &w, &bias, &gate, &residual}) b->random(s.rng);
  const op::linear::Params p{static_cast<int32_t>(n), has("gelu") ? op::linear::Act::gelu : op::linear::Act::none, 1, out};
  std::vector<const Buffer*> ins(In::kCount, nullptr);
  ins[In::x] = &x, ins[In::w] = &w;
  if (has("bias")) ins[In::bias] = &bias;
  if (has("gate")) ins[In::gate] = &gate;
  if (has("residual")) ins[In::residual] = &residual;
  const std::vector<double> zeros(static_cast<size_t>(m * n));
  return both(what, s.ctx, s.libraries, y, zeros, 4e-6 + 2 * roundingOf(out),
              [&](const Context& ctx) { return run(ctx, &ops::linear, p, ins, {&y}); });
}

void used(const char* what, const Used& u, int queries, int products) {
  check(u.queries == queries && u.products == products, what,
        std::to_string(u.queries) + " queries, " + std::to_string(u.products) + " products");
}

void linears() {
  Setup s;
  const DType f32 = DType::f32, bf = DType::bf16, f16 = DType::f16;
  used("plain", linear(s, "plain", 128, 144, 128, bf, bf, {}), 1, 1);
  used("again", linear(s, "again", 128, 144, 128, bf, bf, {}), 0, 1);
  used("bias", linear(s, "bias", 128, 144, 136, bf, f32, {"bias"}), 1, 1);
  used("residual", linear(s, "residual", 128, 144, 136, f16, f16, {"residual"}), 1, 1);
  used("bias, residual", linear(s, "bias, residual", 130, 144, 136, f32, f32, {"bias", "residual"}), 1, 1);
  used("bias of 16 bit", linear(s, "bias of 16 bit", 128, 144, 136, bf, bf, {"bias"}), 0, 0);
  used("short gelu", linear(s, "short gelu", 128, 144, 136, bf, bf, {"bias", "gelu"}), 0, 0);
  used("long", linear(s, "long", 128, 128, 2048, bf, bf, {"bias", "gate", "gelu", "residual"}), 1, 1);
  used("small", linear(s, "small", 16, 144, 136, bf, bf, {}), 0, 0);
  used("unaligned", linear(s, "unaligned", 128, 144, 131, bf, bf, {}), 0, 0);
}

void products() {
  Setup s;
  for (const bool trans : {false, true}) {
    Buffer a({2, 128, 136}, DType::f16), b(trans ? std::vector<int64_t>{2, 144, 136} : std::vector<int64_t>{2, 136, 144}, DType::f16),
        y({2, 128, 144}, DType::f16);
    a.random(s.rng);
    b.random(s.rng);
    const op::matmul::Params p{trans, 0.25f};
    used("matmul",
         both("matmul", s.ctx, s.libraries, y, std::vector<double>(2 * 128 * 144), 2e-3,
              [&](const Context& ctx) {
                return run(ctx, &ops::matmul, p, {&a, &b}, {&y});
              }),
         1, 1);
  }
  Buffer x({2, 72, 136}, DType::bf16), dy({2, 72, 152}, DType::bf16), dw({152, 136}, DType::f32), dbias({152}, DType::f32);
  x.random(s.rng);
  dy.random(s.rng);
  const std::vector<double> before = dw.random(s.rng);
  dbias.random(s.rng);
  const op::linear_grad_w::Params p{0.5f};
  used("linear_grad_w",
       both("linear_grad_w", s.ctx, s.libraries, dw, before, 4e-6,
            [&](const Context& ctx) {
              return run(ctx, &ops::linear_grad_w, p, {&x, &dy, &dw, &dbias}, {});
            }),
       1, 1);
}

void failures() {
  const DType bf = DType::bf16;
  {
    Setup s;
    s.ctx.capturing = true;
    used("unknown while capturing", linear(s, "capturing", 128, 144, 128, bf, bf, {}), 0, 0);
    s.ctx.capturing = false;
    used("outside", linear(s, "outside", 128, 144, 128, bf, bf, {}), 1, 1);
    s.ctx.capturing = true;
    used("known while capturing", linear(s, "known", 128, 144, 128, bf, bf, {}), 0, 1);
  }
  {
    Setup s;
    fake.noHeuristic = true;
    used("no algorithm", linear(s, "no algorithm", 128, 144, 128, bf, bf, {}), 1, 0);
    used("not asked again", linear(s, "not asked again", 128, 144, 128, bf, bf, {}), 0, 0);
    fake.noHeuristic = false;
  }
  {
    Setup s;
    fake.noProduct = true;
    used("a product fails", linear(s, "a product fails", 128, 144, 128, bf, bf, {}), 1, 0);
    used("a raw product fails", linear(s, "a raw product fails", 128, 128, 2048, bf, bf, {"gelu"}), 1, 0);
    fake.noProduct = false;
    used("not tried again", linear(s, "not tried again", 128, 144, 128, bf, bf, {}), 0, 0);
  }
  {
    Setup s;
    s.libraries.noBlas = true;
    used("switched off", linear(s, "switched off", 128, 144, 128, bf, bf, {}), 0, 0);
  }
  const int before = fake.created;
  fake.noHandle = true;
  check(blas::open(plain()) == nullptr, "a library that does not start");
  fake.noHandle = false;
  check(before == 0, "handles are destroyed");
  Setup absent;
  absent.libraries.blas.reset();
  used("absent", linear(absent, "absent", 128, 144, 128, bf, bf, {}), 0, 0);
  check(absent.libraries.noBlas, "absence is kept");
}
#endif

}  // namespace

int main() {
  missing();
#ifdef NS_EMULATED
  linears();
  products();
  failures();
#endif
  return ns::test::finish();
}

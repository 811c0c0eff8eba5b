// cuBLASLt for large aligned products. What its epilogues do exactly goes into the call: beta * residual of y's own type, and a bias where
// y is f32 (it takes no f32 bias for a 16-bit y, and its GELU is an approximation of the hardware). The rest needs the raw product in
// memory, 8 bytes per output, which pays for long k on sm_90 only: there the library's instructions have twice the rate of mma.sync.
// Anything that fails sends the product to the own kernels. Reference: cuBLAS documentation, "Using the cuBLASLt API".
#include <dlfcn.h>

#include <array>
#include <map>

#include "cuda/libraries/blas.h"

namespace ns::cuda::blas {
namespace {

constexpr size_t kWorkspace = size_t{32} << 20;
constexpr int64_t kSmallest = 128;                // of m, n and k: below, the own kernels lose little
constexpr int64_t kLongK = 2048;                  // where a raw product and a second pass pay
constexpr int64_t kMostRaw = int64_t{256} << 20;  // bytes
constexpr size_t kMostChoices = 4096;
constexpr uint32_t kAlignment = 16;

using Key = std::array<int64_t, 12>;
struct Choice {
  lt::Heuristic heuristic{};
  bool usable = false;
  bool ran = false;  // has run outside of a capture: nothing is left to load
};

struct Library {
  lt::Api api{};
  lt::Handle handle = nullptr;
  std::map<Key, Choice> choices;
  ~Library() {
    if (handle) api.destroy(handle);
  }
};

// Destroys a descriptor; a null one was never made.
struct Owned {
  lt::Object object = nullptr;
  lt::Result (*destroy)(lt::Object) = nullptr;
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (object) destroy(object);
  }
};

lt::Type typeOf(DType t) { return t == DType::f16 ? lt::kReal16 : t == DType::bf16 ? lt::kBrain16 : lt::kReal32; }

// Row-major C = A B is column-major C' = B' A': the library's A is our b.
struct Call {
  const lt::Api& api;
  Owned desc, a, b, c;
  bool ok = true;

  explicit Call(const lt::Api& functions) : api(functions) {}
  void take(lt::Result r) { ok = ok && r == 0; }
  template <class T>
  void set(lt::DescAttribute attribute, T v) {
    if (ok) take(api.descSet(desc.object, attribute, &v, sizeof(v)));
  }
  void layout(Owned& to, DType type, int64_t rows, int64_t cols, int64_t ld, int64_t batch, int64_t stride) {
    to.destroy = api.layoutDestroy;
    if (ok) take(api.layoutCreate(&to.object, typeOf(type), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), ld));
    if (!ok || batch == 1) return;
    const auto count = static_cast<int32_t>(batch);
    take(api.layoutSet(to.object, lt::kBatchCount, &count, sizeof(count)));
    take(api.layoutSet(to.object, lt::kBatchStride, &stride, sizeof(stride)));
  }
  void describe(const gemm::Gemm& g) {
    const bool tf32 = g.tf32 && g.a.type == DType::f32;
    desc.destroy = api.descDestroy;
    take(api.descCreate(&desc.object, tf32 ? lt::kComputeTf32 : lt::kCompute32, lt::kReal32));
    set(lt::kTransA, g.alongB ? lt::kTransposed : lt::kAsIs);
    set(lt::kTransB, g.alongA ? lt::kAsIs : lt::kTransposed);
    if (g.epilogue.bias) {
      set(lt::kEpilogue, lt::kEpilogueBias);
      set(lt::kBiasPointer, static_cast<const void*>(g.epilogue.bias));
    }
    layout(a, g.b.type, g.alongB ? g.k : g.n, g.alongB ? g.n : g.k, g.b.pitch, g.batch, g.b.batch);
    layout(b, g.a.type, g.alongA ? g.k : g.m, g.alongA ? g.m : g.k, g.a.pitch, g.batch, g.a.batch);
    layout(c, g.epilogue.yType, g.n, g.m, g.epilogue.pitch, g.batch, g.epilogue.batch);
  }
};

bool choose(const Library& lib, const Call& call, lt::Heuristic& best) {
  const lt::Api& api = lib.api;
  Owned preference;
  preference.destroy = api.preferenceDestroy;
  if (api.preferenceCreate(&preference.object) != 0) return false;
  const auto set = [&](lt::PreferenceAttribute attribute, auto v) {
    return api.preferenceSet(preference.object, attribute, &v, sizeof(v)) == 0;
  };
  if (!set(lt::kMaxWorkspace, uint64_t{kWorkspace}) || !set(lt::kReductionMask, lt::kReduceInComputeType)) return false;
  for (const auto attribute : {lt::kAlignmentA, lt::kAlignmentB, lt::kAlignmentC, lt::kAlignmentD}) {
    if (!set(attribute, kAlignment)) return false;
  }
  int found = 0;
  const lt::Result r = api.heuristic(lib.handle, call.desc.object, call.a.object, call.b.object, call.c.object, call.c.object,
                                     preference.object, 1, &best, &found);
  return r == 0 && found > 0 && best.state == 0 && best.workspace <= kWorkspace;
}

Key keyOf(const gemm::Gemm& g) {
  const Epilogue& e = g.epilogue;
  const int64_t flags = (g.alongA ? 1 : 0) | (g.alongB ? 2 : 0) | (g.tf32 ? 4 : 0) | (e.bias ? 8 : 0);
  return {g.m,     g.n,       g.k,       g.batch, g.a.pitch, g.b.pitch,
          e.pitch, g.a.batch, g.b.batch, e.batch, flags,     static_cast<int64_t>(g.a.type) | static_cast<int64_t>(e.yType) << 8};
}

// Whether the library has taken the product.
bool attempt(const Context& ctx, Library& lib, const gemm::Gemm& g) {
  const Key key = keyOf(g);
  const auto known = lib.choices.find(key);
  if (known != lib.choices.end() && !known->second.usable) return false;
  if (ctx.capturing && (known == lib.choices.end() || !known->second.ran)) return false;
  Call call(lib.api);
  call.describe(g);
  if (known == lib.choices.end() && lib.choices.size() >= kMostChoices) lib.choices.clear();
  Choice& choice = lib.choices[key];
  if (known == lib.choices.end()) choice.usable = call.ok && choose(lib, call, choice.heuristic);
  if (!call.ok || !choice.usable) return false;
  const Epilogue& e = g.epilogue;
  const float beta = e.residual ? e.beta : 0.0f;
  const size_t bytes = choice.heuristic.workspace;
  void* workspace = bytes ? ctx.scratch<char>(2, bytes) : nullptr;
  const lt::Result r = lib.api.matmul(lib.handle, call.desc.object, &e.alpha, g.b.data, call.a.object, g.a.data, call.b.object, &beta,
                                      e.residual ? e.residual : e.y, call.c.object, e.y, call.c.object, &choice.heuristic.algorithm,
                                      workspace, bytes, ctx.stream);
  choice.usable = r == 0;
  choice.ran = choice.ran || (choice.usable && !ctx.capturing);
  return choice.usable;
}

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % kAlignment == 0; }

bool suits(const Context& ctx, const gemm::Gemm& g) {
  if (ctx.libraries.noBlas || g.a.type != g.b.type || g.m < kSmallest || g.n < kSmallest || g.k < kSmallest) return false;
  return g.batch < INT32_MAX && gemm::plan(ctx, g).fast;
}

// Whether the library's own epilogue does all of ours.
bool direct(const gemm::Gemm& g) {
  const Epilogue& e = g.epilogue;
  if (e.gate || e.act != Activation::none || (e.yType != DType::f32 && e.yType != g.a.type)) return false;
  if (e.bias && (e.yType != DType::f32 || e.alpha != 1 || !aligned(e.bias))) return false;
  if (e.residual && (e.residualType != e.yType || !aligned(e.residual))) return false;
  const int64_t chunk = kAlignment / static_cast<int64_t>(dtypeSize(e.yType));
  return aligned(e.y) && e.pitch % chunk == 0 && e.batch % chunk == 0;
}

Library* libraryOf(const Context& ctx) {
  Libraries& all = ctx.libraries;
  if (!all.blas && !ctx.capturing) {
    // Looked for once in a process: a missing library is not looked for with every product.
    static const std::shared_ptr<const lt::Api> api = []() -> std::shared_ptr<const lt::Api> {
      auto found = std::make_shared<lt::Api>();
#ifndef NS_EMULATED
      for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
        if (load(name, *found)) return found;
      }
#endif
      return nullptr;
    }();
    if (api) all.blas = open(*api);
    if (!all.blas) all.noBlas = true;
  }
  return static_cast<Library*>(all.blas.get());
}

}  // namespace

bool load(const char* name, lt::Api& api) {
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) return false;
  const auto find = [library](const char* symbol, auto& function) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, symbol));
    return function != nullptr;
  };
  const bool ok =
      find("cublasLtCreate", api.create) && find("cublasLtDestroy", api.destroy) && find("cublasLtMatmulDescCreate", api.descCreate) &&
      find("cublasLtMatmulDescDestroy", api.descDestroy) && find("cublasLtMatmulDescSetAttribute", api.descSet) &&
      find("cublasLtMatrixLayoutCreate", api.layoutCreate) && find("cublasLtMatrixLayoutDestroy", api.layoutDestroy) &&
      find("cublasLtMatrixLayoutSetAttribute", api.layoutSet) && find("cublasLtMatmulPreferenceCreate", api.preferenceCreate) &&
      find("cublasLtMatmulPreferenceDestroy", api.preferenceDestroy) && find("cublasLtMatmulPreferenceSetAttribute", api.preferenceSet) &&
      find("cublasLtMatmulAlgoGetHeuristic", api.heuristic) && find("cublasLtMatmul", api.matmul);
  if (!ok) dlclose(library);
  return ok;
}

std::shared_ptr<void> open(const lt::Api& api) {
  auto library = std::make_shared<Library>();
  library->api = api;
  if (api.create(&library->handle) != 0) {
    library->handle = nullptr;
    return nullptr;
  }
  return library;
}

Status enqueue(const Context& ctx, const gemm::Gemm& given) {
  gemm::Gemm g = given;
  const Status s = gemm::widen(ctx, g);
  if (!s.ok()) return s;
  if (!suits(ctx, g)) return gemm::enqueue(ctx, g);
  Library* library = libraryOf(ctx);
  if (!library) return gemm::enqueue(ctx, g);
  if (direct(g)) return attempt(ctx, *library, g) ? Status() : gemm::enqueue(ctx, g);
  if (ctx.arch < 90 || g.k < kLongK || g.n % 4 != 0 || g.batch * g.m * g.n * 4 > kMostRaw) return gemm::enqueue(ctx, g);
  gemm::Gemm raw = g;
  raw.epilogue = Epilogue();
  raw.epilogue.y = ctx.scratch<float>(0, static_cast<size_t>(g.batch * g.m * g.n));
  raw.epilogue.pitch = g.n;
  raw.epilogue.batch = g.m * g.n;
  if (!attempt(ctx, *library, raw)) return gemm::enqueue(ctx, g);
  return gemm::sumPartial(ctx, static_cast<const float*>(raw.epilogue.y), 1, g.batch, g.m, g.n, g.epilogue);
}

}  // namespace ns::cuda::blas

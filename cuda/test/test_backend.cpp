// The backend through its table: memory, copies, calls, graphs, and every way to fail. Faults are injected on the emulation only.
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cuda/common/graphs.h"
#include "native/test/check.h"
#ifdef NS_EMULATED
#include "cuda/emulation/control.h"
#endif

extern "C" const NsBackend* ns_backend();

using namespace ns;
using ns::test::check;

namespace {

const NsBackend& table() { return *ns_backend(); }

struct Rig {
  void* self = nullptr;
  Status status;
  explicit Rig(const char* options = nullptr, int index = 0) {
    const NsConfig config{0, index, options};
    self = table().create(&config, &status);
  }
  ~Rig() {
    if (self) table().destroy(self);
  }
  void* alloc(size_t bytes) {
    status = Status();
    return table().alloc(self, bytes, &status);
  }
  float* floats(const std::vector<float>& v) {
    void* data = alloc(v.size() * 4);
    if (data) table().upload(self, data, v.data(), v.size() * 4, &status);
    return static_cast<float*>(data);
  }
  std::vector<float> read(const void* data, size_t n) {
    std::vector<float> v(n, -1);
    status = Status();
    table().download(self, v.data(), data, n * 4, &status);
    return v;
  }
  NsCode synchronize() {
    status = Status();
    table().synchronize(self, &status);
    return static_cast<NsCode>(status.code);
  }
  std::string message() const { return status.message; }
};

NsTensor tensor(void* data, std::vector<int64_t> dims, DType type = DType::f32) {
  NsTensor t{data, static_cast<int32_t>(type), static_cast<int32_t>(dims.size()), {}};
  for (size_t i = 0; i < dims.size(); i++) t.dims[i] = dims[i];
  return t;
}

// y = x mul + add
NsCode affine(Rig& rig, float* x, float* y, int64_t n, float mul, float add) {
  const op::affine::Params p{mul, add, -1e30f, 1e30f};
  const NsTensor in = tensor(x, {n}), out = tensor(y, {n});
  const NsCall call{op::affine::kId, 1, 1, &in, &out, &p};
  rig.status = Status();
  table().execute(rig.self, &call, &rig.status);
  return static_cast<NsCode>(rig.status.code);
}

NsCode embedding(Rig& rig, float* weight, void* indices, float* y, int64_t rows, int64_t width, int64_t n) {
  const op::embedding::Params p{};
  NsTensor in[op::embedding::in::kCount] = {};
  in[0] = tensor(weight, {rows, width});
  in[1] = tensor(indices, {n}, DType::i32);
  const NsTensor out = tensor(y, {n, width});
  const NsCall call{op::embedding::kId, op::embedding::in::kCount, 1, in, &out, &p};
  rig.status = Status();
  table().execute(rig.self, &call, &rig.status);
  return static_cast<NsCode>(rig.status.code);
}

void copies() {
  Rig rig;
  check(rig.self != nullptr, "create", rig.message());
  if (!rig.self) return;
  for (const size_t n : {size_t{1}, size_t{16384}, size_t{16385}, size_t{2} << 20, (size_t{21} << 20) + 3}) {
    std::vector<float> v(n);
    for (size_t i = 0; i < n; i++) v[i] = static_cast<float>(i % 1000003);
    float* x = rig.floats(v);
    check(reinterpret_cast<uintptr_t>(x) % 64 == 0, "alignment");
    const std::vector<float> kept = v;
    std::fill(v.begin(), v.end(), 0.0f);  // the upload has taken its copy
    check(rig.read(x, n) == kept && rig.status.ok(), "what was uploaded", std::to_string(n));
    table().release(rig.self, x, n * 4);
  }
  const std::string text = table().describe(rig.self);
  for (const char* key : {"\"name\":\"cuda\"", "\"gpu\":\"", "\"arch\":\"sm_", "\"driver\":\"", "\"tf32\":false", "\"memory\":{"}) {
    check(text.find(key) != std::string::npos, "describe", text);
  }
  Rig fast("{\"tf32\":1}");
  check(std::string(table().describe(fast.self)).find("\"tf32\":true") != std::string::npos, "tf32");
}

void tickets() {
  Rig rig;
  float* x = rig.floats({1, 2, 3});
  void* before = table().copy_begin(rig.self, x, 12, &rig.status);
  check(affine(rig, x, x, 3, 10, 0) == NS_OK, "affine", rig.message());
  void* mark = table().copy_begin(rig.self, nullptr, 0, &rig.status);
  void* after = table().copy_begin(rig.self, x, 12, &rig.status);
  void* dropped = table().copy_begin(rig.self, x, 12, &rig.status);
  check(before && mark && after && dropped, "tickets", rig.message());
  std::thread([&] {
    float v[3] = {};
    Status s;
    table().copy_finish(rig.self, before, v, 12, &s);
    check(s.ok() && v[0] == 1 && v[2] == 3, "a copy is taken in program order");
    table().copy_finish(rig.self, mark, nullptr, 0, &s);
    table().copy_finish(rig.self, after, v, 12, &s);
    check(s.ok() && v[0] == 10 && v[2] == 30, "after the call");
    table().copy_finish(rig.self, dropped, nullptr, 0, &s);
    check(s.ok(), "a dropped copy");
  }).join();
}

void indexErrors() {
  Rig rig;
  float* w = rig.floats({1, 2, 3, 4});
  const int32_t bad[3] = {1, 7, -2};
  void* indices = rig.alloc(12);
  table().upload(rig.self, indices, bad, 12, &rig.status);
  float* y = rig.floats(std::vector<float>(6));
  check(embedding(rig, w, indices, y, 2, 2, 3) == NS_OK, "the call itself succeeds", rig.message());
  check(rig.synchronize() == NS_INDEX, "told at the synchronization", rig.message());
  check(rig.message().find("[embedding] index ") == 0, "the op is named", rig.message());
  check(rig.synchronize() == NS_OK, "told once", rig.message());
  check(embedding(rig, w, indices, y, 2, 2, 3) == NS_OK, "again");
  Status s;
  void* ticket = table().copy_begin(rig.self, w, 16, &s);
  void* next = table().copy_begin(rig.self, w, 16, &s);
  float v[4];
  table().copy_finish(rig.self, ticket, v, 16, &s);
  check(s.code == NS_INDEX, "told by the first copy after it", s.message);
  s = Status();
  table().copy_finish(rig.self, next, v, 16, &s);
  check(s.ok() && v[3] == 4, "and by no other", s.message);
}

void graphs() {
  Rig rig;
  float* x = rig.floats({1, 2});
  float* y = rig.floats({0, 0});
  Status s;
  check(affine(rig, x, y, 2, 2, 1) == NS_OK, "first pass");
  table().graph_begin(rig.self, &s);
  check(s.ok(), "begin", s.message);
  table().graph_begin(rig.self, &s);
  check(s.code == NS_INVALID, "no graph within a graph");
  s = Status();
  check(affine(rig, y, y, 2, 3, 0) == NS_OK && affine(rig, y, y, 2, 1, 1) == NS_OK, "recorded", rig.message());
  void* graph = table().graph_end(rig.self, &s);
  check(graph && s.ok(), "end", s.message);
  check(rig.read(y, 2) == std::vector<float>({3, 5}), "recording runs nothing");
  for (int i = 0; i < 3; i++) table().graph_launch(rig.self, graph, &s);
  check(s.ok() && rig.read(y, 2) == std::vector<float>({94, 148}), "launches", s.message);
  table().graph_release(rig.self, graph);
  table().graph_end(rig.self, &s);
  check(s.code == NS_INVALID, "no end without a begin");
  check(affine(rig, x, y, 2, 1, 0) == NS_OK && rig.read(y, 2) == std::vector<float>({1, 2}), "works on");
}

void scratch() {
  Status s;
  const auto device = cuda::Device::open(0, s);
  check(device != nullptr, "device", s.message);
  cuda::Allocator memory(*device, size_t{64} << 20);
  check(memory.open().ok(), "pool");
  cuda::StreamScratch scratch(memory);
  void* first = scratch.bytes(0, 1000);
  check(first == scratch.bytes(0, 64 << 10) && first != scratch.bytes(1, 8), "one buffer per slot, rounded up");
  const size_t small = memory.held();
  scratch.bytes(0, 3 << 20);
  check(memory.held() == small + (size_t{4} << 20) - (64 << 10), "growth gives the old one back", std::to_string(memory.held()));
  // A graph that lives keeps what it may use.
  cuda::Graphs graphs(*device, scratch);
  check(graphs.begin().ok(), "begin");
  scratch.bytes(0, 5 << 20);
  cudaGraphExec_t graph = graphs.end(s);
  check(graph && s.ok(), "scratch grows while a graph is recorded", s.message);
  const size_t held = memory.held();
  scratch.bytes(0, 9 << 20);
  check(memory.held() == held + (size_t{10} << 20), "kept for the graph");
  scratch.drop();
  check(memory.held() == held + (size_t{10} << 20), "also when memory is short");
  graphs.release(graph);
  check(memory.held() == (size_t{10} << 20) + (64 << 10), "released with the graph", std::to_string(memory.held()));
  bool refused = false;
  try {
    scratch.bytes(2, size_t{100} << 20);
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  check(refused && scratch.why().code == NS_OUT_OF_MEMORY, "the limit holds", scratch.why().message);
  scratch.drop();
  check(memory.held() == 0, "all is given back", std::to_string(memory.held()));
}

void outOfMemory() {
  Rig rig("{\"memoryLimit\":41943040}");
  void* a = rig.alloc(16 << 20);
  void* b = rig.alloc(16 << 20);
  void* c = rig.alloc(1 << 20);
  check(a && b && c, "fits");
  check(!rig.alloc(16 << 20) && rig.status.code == NS_OUT_OF_MEMORY, "the limit");
  const std::string text = rig.message();
  for (const char* part :
       {"no memory for 16.0 MiB: device ", "free ", "limit 40.0 MiB", "held 33.0 MiB in 4 blocks", "largest 16.0 MiB x2, 1.0 MiB x1"}) {
    check(text.find(part) != std::string::npos, part, text);
  }
  check(text.size() < 251, "the table fits its message");
  check(std::string(table().describe(rig.self)).find("[16777216,2],[1048576,1]") != std::string::npos, "describe has all of it");
  table().release(rig.self, a, 16 << 20);
  check(rig.alloc(16 << 20) != nullptr, "after a release", rig.message());
}

#ifdef NS_EMULATED

// What a copy reads may be changed as soon as upload() returns, so it cannot be the caller's memory.
void pinnedCopies() {
  emulation::Faults f;
  f.pinned = true;
  emulation::setFaults(f);
  copies();
  Rig rig;
  std::vector<float*> small;
  for (int i = 0; i < 3000; i++) small.push_back(rig.floats({static_cast<float>(i), 1, 2}));
  float* full = rig.floats(std::vector<float>(16384, 7));
  check(rig.status.ok(), "many small uploads", rig.message());
  bool same = rig.read(full, 16384)[16383] == 7;
  for (int i = 0; i < 3000; i++) same = same && rig.read(small[static_cast<size_t>(i)], 3)[0] == static_cast<float>(i);
  check(same, "what was uploaded");
  for (int i = 0; i < 100; i++) table().upload(rig.self, full, std::vector<float>(16384, static_cast<float>(i)).data(), 65536, &rig.status);
  check(rig.status.ok() && rig.read(full, 16384)[16383] == 99, "pages are used again", rig.message());
  emulation::setFaults({});
}

void reasons() {
  const auto told = [](const emulation::Faults& faults) {
    emulation::setFaults(faults);
    Status s;
    table().probe(&s);
    Rig rig;
    emulation::setFaults({});
    check(!rig.self, "create refuses as well");
    check(s.ok() || s.code == NS_UNSUPPORTED, "the reason has a type");
    check(rig.status.code == NS_UNSUPPORTED, "create's reason has a type");
    return std::string(s.ok() ? rig.status.message : s.message);
  };
  emulation::Faults f;
  f.noDevice = true;
  check(told(f) == "no NVIDIA driver is loaded", "no driver");
  f = {};
  f.oldDriver = true;
  check(told(f) == "the NVIDIA driver is too old: it does CUDA 11.0, this plug-in needs 13.0", "old driver", told(f));
  f = {};
  f.oldGpu = true;
  check(told(f) == "GPU 0 has compute capability 7.5, the kernels need 8.0", "old GPU", told(f));
  f = {};
  f.noImage = true;
  check(told(f).find("this plug-in has no kernels for emulated on the host") == 0, "no kernel image", told(f));
  f = {};
  f.busy = true;
  check(told(f).find("cudaSetDevice: CUDA-capable device(s) is/are busy") == 0, "a GPU that another process has", told(f));
  Rig other(nullptr, 3);
  check(!other.self && other.message() == "there is no GPU 3: the driver finds 1", "no such GPU", other.message());
  Status s;
  table().probe(&s);
  check(s.ok(), "a device is there", s.message);
}

void lost() {
  for (const bool late : {false, true}) {
    {
      Rig rig;
      float* x = rig.floats({1, 2});
      Status s;
      void* ticket = table().copy_begin(rig.self, x, 8, &s);
      emulation::Faults f;
      f.launchAt = 1;
      f.late = late;
      emulation::setFaults(f);
      const NsCode code = affine(rig, x, x, 2, 2, 0);
      check(code == (late ? NS_OK : NS_LOST), "the call", rig.message());
      check(rig.synchronize() == NS_LOST, "the loss is told", rig.message());
      const std::string first = rig.message();
      check(affine(rig, x, x, 2, 2, 0) == NS_LOST && rig.message() == first, "the same error for all that follows", rig.message());
      check(!rig.alloc(64) && rig.status.code == NS_LOST, "alloc");
      rig.read(x, 2);
      check(rig.status.code == NS_LOST, "download");
      s = Status();
      table().upload(rig.self, x, &s, 8, &s);
      check(s.code == NS_LOST, "upload");
      table().graph_begin(rig.self, &s);
      check(s.code == NS_LOST, "graph");
      table().copy_finish(rig.self, ticket, nullptr, 8, &s);
      check(!table().copy_begin(rig.self, x, 8, &s) && s.code == NS_LOST, "ticket");
      table().release(rig.self, x, 8);
      emulation::setFaults({});
    }
    check(true, "close works");
    emulation::forgetErrors();
    Rig next;
    check(next.self && next.read(next.floats({5}), 1)[0] == 5, "another device afterwards", next.message());
  }
}

// Whichever allocation fails, an answer comes and nothing is lost.
void everyAllocation() {
  const uint64_t before = emulation::usedMemory();
  for (int n = 1; n < 20; n++) {
    emulation::Faults f;
    f.mallocAt = n;
    emulation::setFaults(f);
    {
      Rig rig;
      if (rig.self) {
        std::vector<float> v(50000, 3);
        float* x = rig.floats(v);
        if (x && rig.status.ok()) {
          check(affine(rig, x, x, 50000, 2, 0) == NS_OK && rig.read(x, 50000)[49999] == 6, "works", rig.message());
          table().release(rig.self, x, 200000);
        } else {
          check(rig.status.code == NS_OUT_OF_MEMORY, "a typed answer", rig.message());
          if (x) table().release(rig.self, x, 200000);
        }
      } else {
        check(rig.status.code == NS_OUT_OF_MEMORY, "create answers", rig.message());
      }
    }
    emulation::setFaults({});
    check(emulation::usedMemory() == before, "no memory is lost", std::to_string(n));
  }
  Rig rig;
  emulation::setMemoryLimit(uint64_t{1} << 20);
  check(rig.self != nullptr, "create", rig.message());
  check(!rig.alloc(2 << 20) && rig.status.code == NS_OUT_OF_MEMORY && rig.message().find("device 1.0 MiB, free") != std::string::npos,
        "a full device", rig.message());
  emulation::setMemoryLimit(0);
}

#endif

}  // namespace

int main() {
  check(table().abi_version == NS_ABI_VERSION && table().struct_size == sizeof(NsBackend), "the table");
  Status s;
  table().probe(&s);
  if (!s.ok()) {
    printf("0 passed, 0 failed, 1 skipped: %s\n", s.message);
    return 0;
  }
  copies();
  tickets();
  indexErrors();
  graphs();
  scratch();
  outOfMemory();
#ifdef NS_EMULATED
  pinnedCopies();
  reasons();
  lost();
  everyAllocation();
#endif
  return ns::test::finish();
}

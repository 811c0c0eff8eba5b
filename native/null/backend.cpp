// A backend that computes nothing: every buffer holds one 32-bit digest of how it came to be (FNV-1a over op, parameters and
// the digests of the inputs), so tests can tell from the outside in which order commands ran. Options (JSON numbers):
// failCommand / failAlloc / failUpload / failDownload: the n-th such call fails, from 1; code: with what; failCreate;
// delayUs: per command; allocLimit: bytes in all. asyncCopies: reads and flushes are finished by another thread, after finishDelayUs;
// failFinish: the n-th of these fails. graphs: captures are recorded; failLaunch: the n-th launch fails.
#include "native/abi/backend.h"

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "native/abi/gen/ops.h"
#include "native/abi/status.h"

namespace ns {

namespace {

constexpr size_t kSmall = size_t{1} << 20;

struct Recorded {
  NsCall call;
  std::vector<NsTensor> in, out;
  std::vector<unsigned char> params;
};
using Graph = std::vector<Recorded>;

struct NullDevice {
  int64_t failCommand = 0, failAlloc = 0, failUpload = 0, failDownload = 0, delayUs = 0, allocLimit = 0;
  int64_t commands = 0, allocs = 0, uploads = 0, downloads = 0, bytes = 0;
  int32_t code = NS_INTERNAL;
  bool asyncCopies = false, graphs = false;
  int64_t finishDelayUs = 0, failFinish = 0, failLaunch = 0, launches = 0;
  std::atomic<int64_t> finished{0};
  Graph* recording = nullptr;
};

int64_t option(const char* json, const char* name, int64_t fallback) {
  const std::string key = std::string("\"") + name + "\":";
  const char* at = json ? std::strstr(json, key.c_str()) : nullptr;
  return at ? std::strtoll(at + key.size(), nullptr, 10) : fallback;
}

void set(NsStatus* status, const Status& s) { *status = s; }

uint32_t hash(uint32_t h, const void* data, size_t n) {
  const auto* p = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 16777619u;
  return h;
}

void* create(const NsConfig* config, NsStatus* status) {
  if (option(config->options, "failCreate", 0)) {
    set(status, failure(NS_UNSUPPORTED, "the null device was told to fail"));
    return nullptr;
  }
  auto* d = new (std::nothrow) NullDevice;
  if (!d) return set(status, failure(NS_OUT_OF_MEMORY, "no memory for the null device")), nullptr;
  d->failCommand = option(config->options, "failCommand", 0);
  d->failAlloc = option(config->options, "failAlloc", 0);
  d->failUpload = option(config->options, "failUpload", 0);
  d->failDownload = option(config->options, "failDownload", 0);
  d->delayUs = option(config->options, "delayUs", 0);
  d->allocLimit = option(config->options, "allocLimit", 0);
  d->asyncCopies = option(config->options, "asyncCopies", 0) != 0;
  d->graphs = option(config->options, "graphs", 0) != 0;
  d->finishDelayUs = option(config->options, "finishDelayUs", 0);
  d->failFinish = option(config->options, "failFinish", 0);
  d->failLaunch = option(config->options, "failLaunch", 0);
  d->code = static_cast<int32_t>(option(config->options, "code", NS_INTERNAL));
  return d;
}

void destroy(void* self) { delete static_cast<NullDevice*>(self); }

// All bytes have an address, since a view may begin at any of them; large blocks take no memory until they are touched.
void* zeros(size_t bytes) {
  if (bytes < kSmall) {
    void* data = nullptr;
    return posix_memalign(&data, 64, bytes) == 0 ? std::memset(data, 0, bytes) : nullptr;
  }
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
}

void* alloc(void* self, size_t bytes, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  const auto size = static_cast<int64_t>(bytes);
  const bool refuse = ++d->allocs == d->failAlloc || (d->allocLimit && d->bytes + size > d->allocLimit);
  void* data = refuse ? nullptr : zeros(bytes);
  if (!data) {
    set(status, failure(NS_OUT_OF_MEMORY, "no memory for %zu bytes", bytes));
    return nullptr;
  }
  d->bytes += size;
  return data;
}

void release(void* self, void* data, size_t bytes) {
  static_cast<NullDevice*>(self)->bytes -= static_cast<int64_t>(bytes);
  if (bytes < kSmall) {
    std::free(data);
  } else {
    munmap(data, bytes);
  }
}

void upload(void* self, void* dst, const void* src, size_t bytes, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  if (++d->uploads == d->failUpload)
    return set(status, failure(static_cast<NsCode>(d->code), "injected fault at upload %lld", (long long)d->uploads));
  const uint32_t h = hash(2166136261u, src, bytes);
  std::memcpy(dst, &h, 4);
}

void download(void* self, void* dst, const void* src, size_t bytes, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  if (++d->downloads == d->failDownload) {
    return set(status, failure(static_cast<NsCode>(d->code), "injected fault at download %lld", (long long)d->downloads));
  }
  std::memset(dst, 0, bytes);
  std::memcpy(dst, src, bytes < 4 ? bytes : 4);
}

// Inputs may lie in a mapped file and be shorter than a digest.
size_t digestSize(const NsTensor& t) {
  size_t n = dtypeSize(static_cast<DType>(t.dtype));
  for (int i = 0; i < t.ndim && n < 4; i++) n *= static_cast<size_t>(t.dims[i]);
  return n < 4 ? n : 4;
}

void record(Graph& graph, const NsCall& call) {
  Recorded r;
  r.in.assign(call.in, call.in + call.n_in);
  r.out.assign(call.out, call.out + call.n_out);
  const auto* params = static_cast<const unsigned char*>(call.params);
  r.params.assign(params, params + 4 * op::kInfo[call.op - op::kFirstId].params);
  r.call = call;
  graph.push_back(std::move(r));
}

void execute(void* self, const NsCall* call, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  if (d->recording) return record(*d->recording, *call);
  if (d->delayUs) std::this_thread::sleep_for(std::chrono::microseconds(d->delayUs));
  if (++d->commands == d->failCommand) {
    return set(status, failure(static_cast<NsCode>(d->code), "injected fault at command %lld", (long long)d->commands));
  }
  const op::Info& info = op::kInfo[call->op - op::kFirstId];
  uint32_t h = hash(2166136261u, &call->op, 4);
  h = hash(h, call->params, static_cast<size_t>(info.params) * 4);
  for (int i = 0; i < call->n_in; i++) {
    if (call->in[i].data) h = hash(h, call->in[i].data, digestSize(call->in[i]));
  }
  for (int i = 0; i < call->n_out; i++) std::memcpy(call->out[i].data, &h, 4);
  for (int i = 0; i < call->n_in; i++) {
    if (call->in[i].data && (info.mutated >> i & 1)) std::memcpy(call->in[i].data, &h, digestSize(call->in[i]));
  }
}

void synchronize(void*, NsStatus*) {}
const char* describe(void*) { return "{\"name\":\"null\",\"threads\":0}"; }

struct Ticket {
  std::vector<unsigned char> data;
};

void* copyBegin(void* self, const void* src, size_t bytes, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  if (!d->asyncCopies) return nullptr;
  auto* ticket = new Ticket;
  if (src) {
    ticket->data.resize(bytes);
    download(self, ticket->data.data(), src, bytes, status);
  }
  if (status->code == NS_OK) return ticket;
  delete ticket;
  return nullptr;
}

void copyFinish(void* self, void* taken, void* dst, size_t bytes, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  auto* ticket = static_cast<Ticket*>(taken);
  if (d->finishDelayUs) std::this_thread::sleep_for(std::chrono::microseconds(d->finishDelayUs));
  const int64_t n = ++d->finished;
  if (dst) std::memcpy(dst, ticket->data.data(), bytes);
  if (n == d->failFinish) set(status, failure(static_cast<NsCode>(d->code), "[affine] injected fault at finish %lld", (long long)n));
  delete ticket;
}

void graphBegin(void* self, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  if (!d->graphs) return set(status, failure(NS_UNSUPPORTED, "the null device was not told to record"));
  d->recording = new Graph;
}

void* graphEnd(void* self, NsStatus*) {
  auto* d = static_cast<NullDevice*>(self);
  Graph* graph = d->recording;
  d->recording = nullptr;
  return graph;
}

void graphLaunch(void* self, void* graph, NsStatus* status) {
  auto* d = static_cast<NullDevice*>(self);
  if (++d->launches == d->failLaunch) {
    return set(status, failure(static_cast<NsCode>(d->code), "injected fault at launch %lld", (long long)d->launches));
  }
  for (Recorded& r : *static_cast<Graph*>(graph)) {
    r.call.in = r.in.data();
    r.call.out = r.out.data();
    r.call.params = r.params.data();
    execute(self, &r.call, status);
    if (status->code != NS_OK) return;
  }
}

void graphRelease(void*, void* graph) { delete static_cast<Graph*>(graph); }

const NsBackend kBackend = {NS_ABI_VERSION, sizeof(NsBackend), "null",   create,      destroy,     alloc,   release,
                            upload,         download,          execute,  synchronize, describe,    nullptr, copyBegin,
                            copyFinish,     graphBegin,        graphEnd, graphLaunch, graphRelease};

}  // namespace

const NsBackend* nullBackend() { return &kBackend; }

}  // namespace ns

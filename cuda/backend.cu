// The CUDA backend as a plug-in: the table of functions that the engine calls, and the way of an op id to its function.
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <type_traits>

#include "cuda/common/graphs.h"
#include "cuda/common/staging.h"

namespace ns::cuda {

namespace {

struct Options {
  bool tf32 = false;
  size_t memoryLimit = 0;
};

// A number of the JSON text; the engine has written it.
long long option(const char* json, const char* name) {
  const std::string key = std::string("\"") + name + "\":";
  const char* at = json ? std::strstr(json, key.c_str()) : nullptr;
  return at ? std::strtoll(at + key.size(), nullptr, 10) : 0;
}

// What kernels find as zeros, and leave so unless something fails.
struct Words {
  DeviceError error;
  unsigned tickets[kTickets];
};

struct Backend {
  Backend(std::unique_ptr<Device> opened, const Options& options)
      : tf32(options.tf32), device(std::move(opened)), memory(*device, options.memoryLimit), scratch(memory), graphs(*device, scratch) {}
  ~Backend();
  Status start();
  std::string text() const;

  const bool tf32;
  std::unique_ptr<Device> device;
  Allocator memory;
  StreamScratch scratch;
  Libraries libraries;
  Graphs graphs;
  Words* words = nullptr;
  std::unique_ptr<Uploads> uploads;
  std::unique_ptr<Downloads> downloads;
  std::string description;
};

Status Backend::start() {
  Status s = memory.open();
  if (s.ok()) words = static_cast<Words*>(memory.take(sizeof(Words), s));
  if (s.ok()) s = device->note(cudaMemsetAsync(words, 0, sizeof(Words), device->compute), "words of the kernels");
  if (!s.ok()) return s;
  uploads = std::make_unique<Uploads>(*device, memory);
  downloads = std::make_unique<Downloads>(*device, &words->error);
  return device->note(cudaStreamSynchronize(device->compute), "start");
}

Backend::~Backend() {
  cudaStreamSynchronize(device->copy);
  cudaStreamSynchronize(device->compute);
  libraries = Libraries();
  downloads.reset();
  uploads.reset();
  memory.give(words, sizeof(Words));
  scratch.drop();
  cudaStreamSynchronize(device->compute);
}

std::string Backend::text() const {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  std::string gpu;
  for (const char* c = device->properties().name; *c; c++) {
    if (*c >= ' ' && *c != '"' && *c != '\\') gpu += *c;
  }
  std::string loaded;
  if (libraries.blas) loaded += "\"blas\"";
  if (libraries.dnn) loaded += loaded.empty() ? "\"dnn\"" : ",\"dnn\"";
  return "{\"name\":\"cuda\",\"threads\":0,\"gpu\":\"" + gpu + "\",\"arch\":\"sm_" + std::to_string(device->arch()) +
         "\",\"memoryBytes\":" + std::to_string(device->properties().totalGlobalMem) + ",\"driver\":\"" + versionText(driver) +
         "\",\"runtime\":\"" + versionText(runtime) + "\",\"tf32\":" + (tf32 ? "true" : "false") + ",\"libraries\":[" + loaded + "]" +
#ifdef NS_EMULATED
         ",\"emulated\":true" +
#endif
         ",\"scratchBytes\":" + std::to_string(scratch.held()) + ",\"memory\":" + memory.json() + "}";
}

Backend& of(void* self) { return *static_cast<Backend*>(self); }

void* create(const NsConfig* config, NsStatus* status) {
  try {
    Options options;
    options.tf32 = option(config->options, "tf32") != 0;
    options.memoryLimit = static_cast<size_t>(option(config->options, "memoryLimit"));
    Status s;
    std::unique_ptr<Device> device = Device::open(config->device_index, s);
    if (!device) return *status = s, nullptr;
    auto backend = std::make_unique<Backend>(std::move(device), options);
    backend->libraries.noBlas = backend->libraries.noDnn = option(config->options, "ownKernels") != 0;
    s = backend->start();
    if (!s.ok()) return *status = s, nullptr;
    return backend.release();
  } catch (const std::exception& e) {
    *status = failure(NS_OUT_OF_MEMORY, "cannot start the CUDA device: %s", e.what());
    return nullptr;
  }
}

void destroy(void* self) { delete &of(self); }

void* alloc(void* self, size_t bytes, NsStatus* status) {
  try {
    Status s;
    void* data = of(self).memory.take(bytes, s);
    *status = s;
    return data;
  } catch (const std::exception& e) {
    *status = failure(NS_OUT_OF_MEMORY, "no host memory for the record of a block: %s", e.what());
    return nullptr;
  }
}

void release(void* self, void* data, size_t bytes) { of(self).memory.give(data, bytes); }

void upload(void* self, void* dst, const void* src, size_t bytes, NsStatus* status) {
  Backend& b = of(self);
  Status s = b.device->lost();
  if (s.ok()) s = b.uploads->run(dst, src, bytes);
  *status = s;
}

void download(void* self, void* dst, const void* src, size_t bytes, NsStatus* status) {
  *status = of(self).downloads->run(dst, src, bytes);
}

void* copyBegin(void* self, const void* src, size_t bytes, NsStatus* status) {
  Status s;
  Ticket* ticket = of(self).downloads->begin(src, bytes, s);
  *status = s;
  return ticket;
}

void copyFinish(void* self, void* ticket, void* dst, size_t bytes, NsStatus* status) {
  *status = of(self).downloads->finish(static_cast<Ticket*>(ticket), dst, bytes);
}

void synchronize(void* self, NsStatus* status) {
  Status s;
  Downloads& downloads = *of(self).downloads;
  Ticket* mark = downloads.begin(nullptr, 0, s);
  *status = mark ? downloads.finish(mark, nullptr, 0) : s;
}

template <class Params>
using Op = Status (*)(const Context&, const NsCall&, const Params&);

template <class Params>
Status invoke(Op<Params> op, const Context& ctx, const NsCall& call) {
  Params p{};
  if constexpr (!std::is_empty_v<Params>) std::memcpy(static_cast<void*>(&p), call.params, sizeof(p));
  return op(ctx, call, p);
}

Status dispatch(const Context& ctx, const NsCall& call) {
  switch (call.op) {
#define NS_CASE(name) \
  case op::name::kId: return invoke<op::name::Params>(&ops::name, ctx, call);
    NS_FOR_EACH_OP(NS_CASE)
#undef NS_CASE
  }
  return failure(NS_UNSUPPORTED, "op %d is unknown to the CUDA backend", call.op);
}

void execute(void* self, const NsCall* call, NsStatus* status) {
  Backend& b = of(self);
  *status = b.device->lost();
  if (status->code != NS_OK) return;
  const cudaDeviceProp& p = b.device->properties();
  const Context ctx{
      b.device->compute,   &b.words->error, call->op,    p.multiProcessorCount, b.device->arch(), p.sharedMemPerBlockOptin, b.tf32,
      b.device->capturing, b.scratch,       b.libraries, b.words->tickets};
  try {
    *status = b.device->judge(dispatch(ctx, *call));
  } catch (const std::bad_alloc&) {
    *status = b.scratch.why().ok() ? failure(NS_OUT_OF_MEMORY, "no memory for the scratch space of the op") : b.scratch.why();
  } catch (const std::exception& e) {
    *status = failure(NS_INTERNAL, "%s", e.what());
  }
  if (status->code == NS_OUT_OF_MEMORY && !b.device->capturing) b.scratch.drop();
}

const char* describe(void* self) {
  Backend& b = of(self);
  b.description = b.text();
  return b.description.c_str();
}

void probe(NsStatus* status) { *status = probeDevices(); }

void graphBegin(void* self, NsStatus* status) {
  Backend& b = of(self);
  const Status s = b.device->lost();
  *status = s.ok() ? b.graphs.begin() : s;
}

void* graphEnd(void* self, NsStatus* status) {
  Status s;
  cudaGraphExec_t graph = of(self).graphs.end(s);
  *status = s;
  return graph;
}

void graphLaunch(void* self, void* graph, NsStatus* status) {
  Backend& b = of(self);
  const Status s = b.device->lost();
  *status = s.ok() ? b.graphs.launch(static_cast<cudaGraphExec_t>(graph)) : s;
}

void graphRelease(void* self, void* graph) { of(self).graphs.release(static_cast<cudaGraphExec_t>(graph)); }

const NsBackend kBackend = {NS_ABI_VERSION, sizeof(NsBackend), "cuda",   create,      destroy,     alloc, release,
                            upload,         download,          execute,  synchronize, describe,    probe, copyBegin,
                            copyFinish,     graphBegin,        graphEnd, graphLaunch, graphRelease};

}  // namespace

}  // namespace ns::cuda

extern "C" __attribute__((visibility("default"))) const NsBackend* ns_backend() { return &ns::cuda::kBackend; }

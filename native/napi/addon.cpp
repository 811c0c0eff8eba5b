// The functions of the addon. Arguments come from ts/engine alone, which has checked their meaning; here only what could
// crash is checked again.
#include <dlfcn.h>
#include <hwy/targets.h>
#include <napi.h>

#include "native/napi/host.h"
#include "native/napi/peak.h"

namespace ns::node {

namespace {

using Info = Napi::CallbackInfo;

std::string folderOfAddon() {
  static const char anchor = 0;
  Dl_info where;
  if (!dladdr(&anchor, &where) || !where.dli_fname) return "";
  const std::string path = where.dli_fname;
  const size_t cut = path.rfind('/');
  return cut == std::string::npos ? "." : path.substr(0, cut);
}

[[noreturn]] void refuse(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error e = Napi::Error::New(env, message);
  e.Set("code", Napi::String::New(env, code));
  throw e;
}

double number(const Info& info, size_t i) {
  if (i >= info.Length() || !info[i].IsNumber())
    throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(i) + " is not a number");
  return info[i].As<Napi::Number>().DoubleValue();
}

uint32_t word(const Info& info, size_t i) {
  const double v = number(info, i);
  if (!(v >= 0 && v <= 4294967295.0)) throw Napi::RangeError::New(info.Env(), "argument " + std::to_string(i) + " is out of range");
  return static_cast<uint32_t>(v);
}

Napi::TypedArray array(const Info& info, size_t i) {
  if (i >= info.Length() || !info[i].IsTypedArray()) {
    throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(i) + " is not a typed array");
  }
  return info[i].As<Napi::TypedArray>();
}

char* bytesOf(Napi::TypedArray& a) { return static_cast<char*>(a.ArrayBuffer().Data()) + a.ByteOffset(); }

// Arguments i, i+1: dtype, dims.
core::TensorInfo tensorInfo(const Info& info, size_t i) {
  core::TensorInfo t;
  t.dtype = static_cast<int32_t>(word(info, i));
  if (t.dtype > 4 || i + 1 >= info.Length() || !info[i + 1].IsArray()) throw Napi::TypeError::New(info.Env(), "bad dtype or dims");
  Napi::Array dims = info[i + 1].As<Napi::Array>();
  if (dims.Length() > NS_MAX_DIMS) throw Napi::RangeError::New(info.Env(), "too many dims");
  t.ndim = static_cast<int32_t>(dims.Length());
  for (int k = 0; k < t.ndim; k++) t.dims[k] = dims.Get(static_cast<uint32_t>(k)).ToNumber().Int64Value();
  if (core::tensorBytes(t) == SIZE_MAX) throw Napi::RangeError::New(info.Env(), "impossible size");
  return t;
}

// create(device, threads, deviceIndex, options, maxCommands, maxBytes, cacheBytes, onLate) -> Promise<handle>
Napi::Value create(const Info& info) {
  Napi::Env env = info.Env();
  core::BackendEntry backend = core::findBackend(info[0].ToString(), folderOfAddon());
  if (!backend.table) refuse(env, "UNSUPPORTED", backend.reason);
  core::EngineConfig config;
  config.threads = static_cast<int32_t>(word(info, 1));
  config.deviceIndex = static_cast<int32_t>(word(info, 2));
  config.options = info[3].ToString().Utf8Value();
  config.maxCommands = static_cast<uint64_t>(number(info, 4));
  config.maxBytes = static_cast<uint64_t>(number(info, 5));
  config.cacheBytes = static_cast<size_t>(number(info, 6));
  if (!info[7].IsFunction()) throw Napi::TypeError::New(env, "argument 7 is not a function");
  return Host::create(env, std::move(backend), std::move(config), info[7].As<Napi::Function>());
}

// submit(handle, words: Uint32Array, count)
void submit(const Info& info) {
  Host& host = Host::from(info);
  Napi::TypedArray words = array(info, 1);
  const size_t n = word(info, 2);
  if (words.TypedArrayType() != napi_uint32_array || n > words.ElementLength())
    throw Napi::TypeError::New(info.Env(), "bad command buffer");
  std::string why;
  const auto* data = reinterpret_cast<const uint32_t*>(bytesOf(words));
  if (!host.open(info.Env()).submit(data, n, why)) refuse(info.Env(), why == "closed" ? "CLOSED" : "MALFORMED", why);
  host.account();
}

using CopyIn = bool (core::Engine::*)(core::SlotRef, const core::TensorInfo&, const void*, std::string&);

void copyIn(const Info& info, CopyIn function) {
  Host& host = Host::from(info);
  const core::SlotRef ref{word(info, 1), word(info, 2)};
  const core::TensorInfo t = tensorInfo(info, 3);
  Napi::TypedArray data = array(info, 5);
  if (data.ByteLength() != core::tensorBytes(t)) throw Napi::RangeError::New(info.Env(), "data and shape differ in size");
  std::string why;
  core::Engine& engine = host.open(info.Env());
  if (!(engine.*function)(ref, t, bytesOf(data), why)) refuse(info.Env(), why == "closed" ? "CLOSED" : "MEMORY", why);
  host.account();
}

// upload, write(handle, slot, generation, dtype, dims, data): a new slot, or new values for one
void upload(const Info& info) { copyIn(info, &core::Engine::upload); }
void write(const Info& info) { copyIn(info, &core::Engine::write); }

// map(handle, slot, generation, dtype, dims, path, offset)
void map(const Info& info) {
  Host& host = Host::from(info);
  const core::SlotRef ref{word(info, 1), word(info, 2)};
  const core::TensorInfo t = tensorInfo(info, 3);
  const double offset = number(info, 6);
  if (!(offset >= 0 && offset <= 9007199254740991.0)) throw Napi::RangeError::New(info.Env(), "bad file offset");
  if (!host.open(info.Env()).map(ref, t, info[5].ToString(), static_cast<uint64_t>(offset))) refuse(info.Env(), "CLOSED", "closed");
}

// Hands a request to the engine; its promise does not stay pending when that fails.
template <class F>
void ask(const Info& info, Host& host, uint64_t token, const F& request) {
  bool taken = false;
  try {
    taken = request();
  } catch (...) {
    host.settle(token, nullptr);
    throw;
  }
  if (taken) return;
  host.settle(token, nullptr);
  refuse(info.Env(), "CLOSED", "closed");
}

// read(handle, slot, generation, destination) -> Promise<void>
Napi::Value read(const Info& info) {
  Host& host = Host::from(info);
  const core::SlotRef ref{word(info, 1), word(info, 2)};
  Napi::TypedArray destination = array(info, 3);
  core::Engine& engine = host.open(info.Env());
  uint64_t token = 0;
  Napi::Value promise = host.promise(token, destination);
  ask(info, host, token, [&] { return engine.read(ref, bytesOf(destination), destination.ByteLength(), token); });
  return promise;
}

using Request = bool (core::Engine::*)(uint64_t);

Napi::Value request(const Info& info, Request function) {
  Host& host = Host::from(info);
  core::Engine& engine = host.open(info.Env());
  uint64_t token = 0;
  Napi::Value promise = host.promise(token, info.Env().Null());
  ask(info, host, token, [&] { return (engine.*function)(token); });
  return promise;
}

Napi::Value flush(const Info& info) { return request(info, &core::Engine::flush); }
Napi::Value throttle(const Info& info) { return request(info, &core::Engine::throttle); }
Napi::Value close(const Info& info) { return request(info, &core::Engine::close); }

// cancel(handle, group)
void cancel(const Info& info) {
  Host& host = Host::from(info);
  if (host.engine()) host.engine()->cancel(word(info, 1));
}

Napi::Object opStats(Napi::Env env, const core::Counters& c) {
  Napi::Object ops = Napi::Object::New(env);
  for (int i = 0; i < op::kOpCount; i++) {
    if (c.opCount[i] == 0) continue;
    Napi::Object one = Napi::Object::New(env);
    one.Set("count", static_cast<double>(c.opCount[i]));
    one.Set("ms", static_cast<double>(c.opNanos[i]) / 1e6);
    ops.Set(op::kInfo[i].name, one);
  }
  return ops;
}

// progress(handle, into: Float64Array) fills commands issued/retired and bytes issued/retired: the cheap half of stats.
void progress(const Info& info) {
  const core::Counters& c = Host::from(info).open(info.Env()).counters();
  Napi::TypedArray into = array(info, 1);
  if (into.TypedArrayType() != napi_float64_array || into.ElementLength() < 2) throw Napi::TypeError::New(info.Env(), "bad progress array");
  auto* v = reinterpret_cast<double*>(bytesOf(into));
  v[0] = static_cast<double>(c.issued - c.retired);
  v[1] = static_cast<double>(c.issuedBytes - c.retiredBytes);
}

// stats(handle)
Napi::Value stats(const Info& info) {
  Napi::Env env = info.Env();
  Host& host = Host::from(info);
  core::Engine& engine = host.open(env);
  host.account();
  const core::Counters& c = engine.counters();
  const core::Memory::Counters& m = engine.memory();
  Napi::Object o = Napi::Object::New(env);
  o.Set("commands", static_cast<double>(c.retired));
  o.Set("inFlightCommands", static_cast<double>(c.issued - c.retired));
  o.Set("inFlightBytes", static_cast<double>(c.issuedBytes - c.retiredBytes));
  o.Set("failed", static_cast<double>(c.failed));
  Napi::Object replays = Napi::Object::New(env);
  replays.Set("graph", static_cast<double>(c.graphReplays));
  replays.Set("calls", static_cast<double>(c.callReplays));
  o.Set("replays", replays);
  o.Set("poolBytes", static_cast<double>(m.pool));
  o.Set("liveBytes", static_cast<double>(m.live));
  o.Set("peakBytes", static_cast<double>(m.peak));
  o.Set("mappedBytes", static_cast<double>(m.mapped));
  o.Set("describe", engine.describe());
  o.Set("ops", opStats(env, c));
  return o;
}

// info(): what this addon is and which devices it can open.
Napi::Value about(const Info& info) {
  Napi::Env env = info.Env();
  Napi::Object o = Napi::Object::New(env);
  o.Set("abi", static_cast<double>(NS_ABI_VERSION));
  o.Set("ops", op::kOpCount);
  o.Set("compiler", __VERSION__);
  Napi::Array targets = Napi::Array::New(env);
  for (int64_t bits = hwy::SupportedTargets(); bits != 0; bits &= bits - 1) targets.Set(targets.Length(), hwy::TargetName(bits & -bits));
  o.Set("targets", targets);
  Napi::Array backends = Napi::Array::New(env);
  for (const core::BackendEntry& b : core::allBackends(folderOfAddon())) {
    Napi::Object one = Napi::Object::New(env);
    one.Set("name", b.name);
    one.Set("available", b.table != nullptr);
    one.Set("reason", b.reason);
    backends.Set(backends.Length(), one);
  }
  o.Set("backends", backends);
  return o;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("create", Napi::Function::New(env, create));
  exports.Set("submit", Napi::Function::New(env, submit));
  exports.Set("upload", Napi::Function::New(env, upload));
  exports.Set("write", Napi::Function::New(env, write));
  exports.Set("map", Napi::Function::New(env, map));
  exports.Set("read", Napi::Function::New(env, read));
  exports.Set("flush", Napi::Function::New(env, flush));
  exports.Set("throttle", Napi::Function::New(env, throttle));
  exports.Set("cancel", Napi::Function::New(env, cancel));
  exports.Set("progress", Napi::Function::New(env, progress));
  exports.Set("stats", Napi::Function::New(env, stats));
  exports.Set("close", Napi::Function::New(env, close));
  exports.Set("info", Napi::Function::New(env, about));
  exports.Set("peak", Napi::Function::New(env, peak));
  return exports;
}

}  // namespace

NODE_API_MODULE(nextscale, init)

}  // namespace ns::node

#include "native/napi/host.h"

#include <chrono>
#include <new>
#include <thread>

namespace ns::node {

namespace {

using Handle = std::shared_ptr<Host>;
const napi_type_tag kTag = {0x6e65787473636131ull, 0x656e67696e653031ull};

napi_value undefined(napi_env env) {
  napi_value v = nullptr;
  napi_get_undefined(env, &v);
  return v;
}

napi_value toObject(napi_env env, const core::LateError& e) {
  napi_value o = nullptr;
  if (napi_create_object(env, &o) != napi_ok) return undefined(env);
  const auto text = [&](const char* name, const std::string& s) {
    napi_value v = nullptr;
    if (napi_create_string_utf8(env, s.c_str(), s.size(), &v) == napi_ok) napi_set_named_property(env, o, name, v);
  };
  const auto number = [&](const char* name, double d) {
    napi_value v = nullptr;
    if (napi_create_double(env, d, &v) == napi_ok) napi_set_named_property(env, o, name, v);
  };
  number("code", e.code);
  text("op", e.op);
  text("shapes", e.shapes);
  number("command", static_cast<double>(e.command));
  text("message", e.message);
  return o;
}

}  // namespace

Napi::Value Host::create(Napi::Env env, core::BackendEntry backend, core::EngineConfig config, Napi::Function onLate) {
  Handle host(new Host(env));
  const napi_status created = napi_create_threadsafe_function(
      env, nullptr, nullptr, Napi::String::New(env, "nextscale"), 0, 1, new Handle(host),
      [](napi_env, void* context, void*) { delete static_cast<Handle*>(context); }, host.get(), callJs, &host->tsfn_);
  if (created != napi_ok) throw Napi::Error::New(env, "cannot create a thread-safe function");
  napi_add_env_cleanup_hook(env, teardown, host.get());
  napi_create_reference(env, onLate, 1, &host->onLate_);
  Napi::External<Handle> external = Napi::External<Handle>::New(env, new Handle(host), [](Napi::Env, Handle* h) {
    (*h)->shutdown();
    napi_delete_reference((*h)->env_, (*h)->self_);
    delete h;
  });
  napi_type_tag_object(env, external, &kTag);
  napi_create_reference(env, external, 0, &host->self_);
  uint64_t token = 0;  // 1: the promise of create()
  Napi::Value promise = host->promise(token, env.Null());
  Host* raw = host.get();
  try {
    host->engine_ =
        std::make_unique<core::Engine>(std::move(backend), std::move(config), [raw](core::Event e) { raw->post(std::move(e)); });
  } catch (const std::exception& e) {
    auto error = std::make_shared<core::LateError>();
    error->code = NS_OUT_OF_MEMORY;
    error->op = "create";
    error->message = std::string("cannot start the worker thread: ") + e.what();
    host->resolve(token, nullptr, error);
    host->shutdown();
  }
  return promise;
}

Host& Host::from(const Napi::CallbackInfo& info) {
  bool tagged = false;
  if (info.Length() > 0 && info[0].IsExternal()) napi_check_object_type_tag(info.Env(), info[0], &kTag, &tagged);
  if (!tagged) throw Napi::TypeError::New(info.Env(), "the first argument is not an engine handle");
  return **info[0].As<Napi::External<Handle>>().Data();
}

core::Engine& Host::open(Napi::Env env) {
  if (!engine_) {
    Napi::Error e = Napi::Error::New(env, "the engine is closed");
    e.Set("code", Napi::String::New(env, "CLOSED"));
    throw e;
  }
  return *engine_;
}

Napi::Value Host::promise(uint64_t& token, Napi::Value keep) {
  Pending p;
  napi_value promise = nullptr;
  if (napi_create_promise(env_, &p.deferred, &promise) != napi_ok) throw Napi::Error::New(env_, "cannot create a promise");
  if (keep.IsObject()) napi_create_reference(env_, keep, 1, &p.keep);
  if (pending_.empty()) hold();
  token = nextToken_++;
  pending_.emplace(token, p);
  return Napi::Value(env_, promise);
}

// While a promise is pending the engine must not be collected and the event loop must not end.
void Host::hold() {
  uint32_t count = 0;
  napi_reference_ref(env_, self_, &count);
  napi_ref_threadsafe_function(env_, tsfn_);
}

void Host::unhold() {
  uint32_t count = 0;
  if (tsfn_) napi_unref_threadsafe_function(env_, tsfn_);
  napi_reference_unref(env_, self_, &count);
}

void Host::resolve(uint64_t token, napi_value value, const core::ErrorPtr& error) {
  auto found = pending_.find(token);
  if (found == pending_.end()) return;
  const Pending p = found->second;
  pending_.erase(found);
  if (error) {
    napi_reject_deferred(env_, p.deferred, toObject(env_, *error));
  } else {
    napi_resolve_deferred(env_, p.deferred, value);
  }
  if (p.keep) napi_delete_reference(env_, p.keep);
  if (pending_.empty()) unhold();
}

void Host::settle(uint64_t token, const core::ErrorPtr& error) { resolve(token, undefined(env_), error); }

bool Host::queue(core::Event& event) {
  std::lock_guard<std::mutex> lock(mutex_);
  try {
    events_.push_back(event);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

// Worker thread, or JS thread from throttle(). The worker is joined before the function is released.
void Host::post(core::Event event) {
  for (int tries = 0; !queue(event) && tries < 1000; tries++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  napi_call_threadsafe_function(tsfn_, nullptr, napi_tsfn_nonblocking);
}

void Host::callJs(napi_env env, napi_value, void* context, void*) {
  if (env) static_cast<Host*>(context)->drain();
}

void Host::drain() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  Handle alive = shared_from_this();
  thrown_ = nullptr;
  for (;;) {
    core::Event event;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (events_.empty()) break;
      event = std::move(events_.front());
      events_.pop_front();
    }
    handle(event);
  }
  account();
  // Last, for with an exception pending no promise can be settled.
  if (thrown_) napi_throw(env_, thrown_);
  napi_close_handle_scope(env_, scope);
}

void Host::handle(const core::Event& event) {
  napi_value handle = nullptr;
  switch (event.kind) {
    case core::Event::kReady:
      if (event.error) {
        shutdown();
      } else {
        napi_get_reference_value(env_, self_, &handle);
      }
      resolve(1, handle, event.error);
      break;
    case core::Event::kSettled: settle(event.token, event.error); break;
    case core::Event::kLate: late(*event.error); break;
    case core::Event::kClosed:
      shutdown();
      settle(event.token, event.error);
      break;
  }
}

void Host::late(const core::LateError& error) {
  napi_value listener = nullptr, result = nullptr;
  if (!onLate_ || napi_get_reference_value(env_, onLate_, &listener) != napi_ok || !listener) return;
  napi_value argument = toObject(env_, error);
  if (napi_call_function(env_, undefined(env_), listener, 1, &argument, &result) != napi_pending_exception) return;
  napi_value thrown = nullptr;
  if (napi_get_and_clear_last_exception(env_, &thrown) == napi_ok && !thrown_) thrown_ = thrown;
}

void Host::account() {
  int64_t now = 0;
  if (engine_ && engine_->ready()) {
    const core::Counters& c = engine_->counters();
    now = static_cast<int64_t>(engine_->memory().pool + c.issuedBytes - c.retiredBytes);
  }
  if (now == told_) return;
  int64_t total = 0;
  napi_adjust_external_memory(env_, now - told_, &total);
  told_ = now;
}

void Host::shutdown() {
  if (!tsfn_) return;
  engine_.reset();
  account();
  napi_delete_reference(env_, onLate_);
  onLate_ = nullptr;
  napi_remove_env_cleanup_hook(env_, teardown, this);
  napi_release_threadsafe_function(tsfn_, napi_tsfn_release);
  tsfn_ = nullptr;
}

// The environment ends (process exit, worker_threads termination): queued work is dropped, no promise can be settled any more.
void Host::teardown(void* self) {
  auto* host = static_cast<Host*>(self);
  Handle alive = host->shared_from_this();
  host->engine_.reset();
  host->pending_.clear();
  host->tsfn_ = nullptr;  // released by Node itself
}

}  // namespace ns::node

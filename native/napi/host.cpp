#include "native/napi/host.h"

namespace ns::node {

namespace {

using Handle = std::shared_ptr<Host>;
const napi_type_tag kTag = {0x6e65787473636131ull, 0x656e67696e653031ull};

}  // namespace

Napi::Object toObject(Napi::Env env, const core::LateError& e) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("code", e.code);
  o.Set("op", e.op);
  o.Set("shapes", e.shapes);
  o.Set("command", static_cast<double>(e.command));
  o.Set("message", e.message);
  return o;
}

Napi::Value Host::create(Napi::Env env, core::BackendEntry backend, core::EngineConfig config, Napi::Function onLate) {
  Handle host(new Host(env));
  const napi_status created = napi_create_threadsafe_function(
      env, nullptr, nullptr, Napi::String::New(env, "nextscale"), 0, 1, new Handle(host),
      [](napi_env, void* context, void*) { delete static_cast<Handle*>(context); }, host.get(), callJs, &host->tsfn_);
  if (created != napi_ok) throw Napi::Error::New(env, "cannot create a thread-safe function");
  napi_add_env_cleanup_hook(env, teardown, host.get());
  host->onLate_ = Napi::Persistent(onLate);
  Napi::External<Handle> external = Napi::External<Handle>::New(env, new Handle(host), [](Napi::Env, Handle* h) {
    (*h)->shutdown();
    delete h;
  });
  napi_type_tag_object(env, external, &kTag);
  host->self_ = Napi::ObjectReference();
  napi_ref reference;
  napi_create_reference(env, external, 0, &reference);
  host->self_ = Napi::ObjectReference(env, reference);
  uint64_t token = 0;
  Napi::Promise promise = host->promise(token, env.Null());
  Host* raw = host.get();
  host->engine_ = std::make_unique<core::Engine>(std::move(backend), std::move(config), [raw](core::Event e) { raw->post(std::move(e)); });
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

Napi::Promise Host::promise(uint64_t& token, Napi::Value keep) {
  token = nextToken_++;
  Pending p{Napi::Promise::Deferred::New(env_), {}};
  if (keep.IsObject()) p.keep = Napi::Persistent(keep.As<Napi::Object>());
  if (pending_.empty()) {
    self_.Ref();
    napi_ref_threadsafe_function(env_, tsfn_);
  }
  Napi::Promise promise = p.deferred.Promise();
  pending_.emplace(token, std::move(p));
  return promise;
}

void Host::settle(uint64_t token, const core::ErrorPtr& error) {
  auto found = pending_.find(token);
  if (found == pending_.end()) return;
  Pending p = std::move(found->second);
  pending_.erase(found);
  if (error) {
    p.deferred.Reject(toObject(env_, *error));
  } else {
    p.deferred.Resolve(env_.Undefined());
  }
  if (pending_.empty()) {
    if (tsfn_) napi_unref_threadsafe_function(env_, tsfn_);
    self_.Unref();
  }
}

// Worker thread, or JS thread from throttle(). The worker is joined before the function is released.
void Host::post(core::Event event) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    events_.push_back(std::move(event));
  }
  napi_call_threadsafe_function(tsfn_, nullptr, napi_tsfn_nonblocking);
}

// Called by Node, not by node-addon-api: no C++ exception may leave.
void Host::callJs(napi_env env, napi_value, void* context, void*) {
  if (env) static_cast<Host*>(context)->drain();
}

void Host::drain() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  Handle alive = shared_from_this();
  Napi::Error thrown;  // kept until every promise is settled: with an exception pending no call succeeds
  for (;;) {
    core::Event event;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (events_.empty()) break;
      event = std::move(events_.front());
      events_.pop_front();
    }
    try {
      handle(event);
    } catch (const Napi::Error& e) {
      // From the listener of late errors; in an environment that is being terminated every call fails, and nobody is left to tell.
      if (thrown.IsEmpty()) thrown = e;
    }
  }
  account();
  if (!thrown.IsEmpty()) {
    napi_value value = thrown.Value();
    if (value) napi_throw(env_, value);
  }
  napi_close_handle_scope(env_, scope);
}

void Host::handle(core::Event& event) {
  switch (event.kind) {
    case core::Event::kReady: ready(event.error); break;
    case core::Event::kSettled: settle(event.token, event.error); break;
    case core::Event::kLate:
      if (!onLate_.IsEmpty()) onLate_.Call({toObject(env_, *event.error)});
      break;
    case core::Event::kClosed:
      shutdown();
      settle(event.token, event.error);
      break;
  }
}

void Host::ready(const core::ErrorPtr& error) {
  auto found = pending_.find(1);
  if (found == pending_.end()) return;
  if (error) {
    shutdown();
  } else {
    found->second.deferred.Resolve(self_.Value());
    Pending done = std::move(found->second);
    pending_.erase(found);
    if (pending_.empty()) {
      napi_unref_threadsafe_function(env_, tsfn_);
      self_.Unref();
    }
    return;
  }
  settle(1, error);
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
  host->onLate_.Reset();
  host->tsfn_ = nullptr;  // released by Node itself
}

}  // namespace ns::node

// What stands between one engine and one JS environment: promises by token, events from the worker, memory told to V8.
#pragma once
#include <napi.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>

#include "native/core/engine.h"

namespace ns::node {

class Host : public std::enable_shared_from_this<Host> {
 public:
  // Starts the engine; the promise gives the handle.
  static Napi::Value create(Napi::Env env, core::BackendEntry backend, core::EngineConfig config, Napi::Function onLate);
  static Host& from(const Napi::CallbackInfo& info);  // throws when argument 0 is no handle

  core::Engine* engine() { return engine_.get(); }
  core::Engine& open(Napi::Env env);  // throws when closed

  // Registers a promise; `keep` stays alive until it settles.
  Napi::Value promise(uint64_t& token, Napi::Value keep);
  void settle(uint64_t token, const core::ErrorPtr& error);
  void account();  // tells V8 about the memory held outside of it

 private:
  explicit Host(Napi::Env env) : env_(env) {}
  struct Pending {
    napi_deferred deferred = nullptr;
    napi_ref keep = nullptr;
  };
  // Called by the worker and by Node, not through node-addon-api, which ends the process when a call fails; while an environment
  // is being terminated every call does. So they use the C functions and let a failed one pass.
  void post(core::Event event);  // a promise hangs on it: short of memory it tries again for a second
  bool queue(core::Event& event);
  void drain();
  void handle(const core::Event& event);
  void resolve(uint64_t token, napi_value value, const core::ErrorPtr& error);
  void late(const core::LateError& error);
  void shutdown();  // joins the worker; idempotent
  static void callJs(napi_env env, napi_value, void* context, void*);
  static void teardown(void* self);
  void hold();
  void unhold();

  Napi::Env env_;
  std::unique_ptr<core::Engine> engine_;
  napi_threadsafe_function tsfn_ = nullptr;
  std::mutex mutex_;
  std::deque<core::Event> events_;
  std::map<uint64_t, Pending> pending_;
  napi_ref self_ = nullptr;  // weak; strong while a promise is pending
  napi_ref onLate_ = nullptr;
  napi_value thrown_ = nullptr;  // by the listener, within one drain()
  uint64_t nextToken_ = 1;
  int64_t told_ = 0;
};

}  // namespace ns::node

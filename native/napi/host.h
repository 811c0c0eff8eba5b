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
  Napi::Promise promise(uint64_t& token, Napi::Value keep);
  void settle(uint64_t token, const core::ErrorPtr& error);
  void account();  // tells V8 about the memory held outside of it

 private:
  explicit Host(Napi::Env env) : env_(env) {}
  struct Pending {
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference keep;
  };
  void post(core::Event event);
  void drain();
  void handle(core::Event& event);
  void ready(const core::ErrorPtr& error);
  void shutdown();  // joins the worker; idempotent
  static void callJs(napi_env env, napi_value, void* context, void*);
  static void teardown(void* self);

  Napi::Env env_;
  std::unique_ptr<core::Engine> engine_;
  napi_threadsafe_function tsfn_ = nullptr;
  std::mutex mutex_;
  std::deque<core::Event> events_;
  std::map<uint64_t, Pending> pending_;
  Napi::ObjectReference self_;  // weak; strong while a promise is pending
  Napi::FunctionReference onLate_;
  uint64_t nextToken_ = 1;
  int64_t told_ = 0;
};

Napi::Object toObject(Napi::Env env, const core::LateError& error);

}  // namespace ns::node

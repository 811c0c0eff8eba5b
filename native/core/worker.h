// The part of the engine that runs on the worker thread.
#pragma once
#include <map>

#include "native/core/capture.h"
#include "native/core/engine.h"
#include "native/core/retire.h"

namespace ns::core {

class Engine::Worker {
 public:
  explicit Worker(Engine& engine);
  ~Worker();
  // False: the engine is closed, and this is the event that says so once everything is released.
  bool run(Item& item);
  Event closed;

 private:
  void dispatch(Item& item, bool& open);
  void close(const Item& item);
  void batch(const Item& item);
  void upload(Item& item);
  void write(Item& item);
  void map(Item& item);
  void read(const Item& item);
  bool readLater(const Item& item, Slot& slot, Status& status);
  void settle(uint64_t token);
  void command(const Command& c);
  void dispose(const Command& c);
  void share(const Command& c);
  void makeEmpty(const Command& c);
  Slot* openFor(const Item& item, const char* op);

  // worker_execute.cpp
  void execute(const Command& c);
  ErrorPtr findPoison(const Command& c, Slot** in);
  ErrorPtr cancelled(const char* op);
  void define(const Command& c, Slot** in, Slot** out, ErrorPtr poison);
  bool call(const Command& c, Slot** in, Slot** out, Status& status);
  void invoke(const NsCall& call, Status& status);
  ErrorPtr fail(const Status& status, const char* op, std::string shapes);
  bool isCancelled(uint32_t group);
  std::string shapes(const Command& c, Slot** in) const;

  // worker_capture.cpp
  void captureBegin(uint32_t id);
  void captureEnd(uint32_t id);
  void stopRecording();
  void toGraph(Capture& capture);
  void replay(const Command& c);
  void runCalls(Capture& capture);
  void launch(Capture& capture);
  void drop(uint32_t id);
  void release(Capture& capture);

  Engine& e_;
  const NsBackend& table_;
  Slots slots_;
  Files files_;
  std::map<uint32_t, std::unique_ptr<Capture>> captures_;
  Capture* recording_ = nullptr;
  uint32_t recordingId_ = 0;
  uint64_t number_ = 0;
  std::unique_ptr<Retire> retire_;  // null: the device answers at once
};

}  // namespace ns::core

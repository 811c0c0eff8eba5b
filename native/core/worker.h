// The part of the engine that runs on the worker thread.
#pragma once
#include "native/core/engine.h"

namespace ns::core {

class Engine::Worker {
 public:
  explicit Worker(Engine& engine);
  // False: the engine is closed, and this is the event that says so once everything is released.
  bool run(Item& item);
  Event closed;

 private:
  void dispatch(Item& item, bool& open);
  void exhausted();
  void batch(const Item& item);
  void upload(Item& item);
  void map(Item& item);
  void read(const Item& item);
  void settle(uint64_t token);
  void command(const Command& c);
  void dispose(const Command& c);
  void share(const Command& c);
  void execute(const Command& c);
  ErrorPtr findPoison(const Command& c, Slot** in);
  void define(const Command& c, Slot** in, Slot** out, ErrorPtr poison);
  bool call(const Command& c, Slot** in, Slot** out, Status& status);
  void invoke(const Command& c, const NsTensor* in, const NsTensor* out, Status& status);
  ErrorPtr fail(const Status& status, const char* op, std::string shapes);
  ErrorPtr firstUnreported();
  bool isCancelled(uint32_t group);
  std::string shapes(const Command& c, Slot** in) const;
  Slot* openFor(const Item& item, const char* op);

  Engine& e_;
  Slots slots_;
  Files files_;
  std::deque<ErrorPtr> unreported_;
  ErrorPtr lost_;
  ErrorPtr exhausted_;  // made in advance, for when there is no memory for an error
  uint64_t number_ = 0;
};

}  // namespace ns::core

// A late error: kept from the failing command until somebody is told, shared by every slot it poisons.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "native/abi/status.h"

namespace ns::core {

struct LateError {
  int32_t code = NS_INTERNAL;
  uint64_t command = 0;  // number of the command in program order, from 1
  std::string op;
  std::string shapes;
  std::string message;
  bool reported = false;  // guarded by Errors
};
using ErrorPtr = std::shared_ptr<LateError>;

// What the worker tells the owner of the engine; token is the one the request came with.
struct Event {
  enum Kind { kReady, kSettled, kLate, kClosed };
  Kind kind = kSettled;
  uint64_t token = 0;
  ErrorPtr error;  // null: success
};

}  // namespace ns::core

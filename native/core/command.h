// The wire format of commands: 32-bit words, one command after the other.
//   [total words] [op id] [group] [nIn | nOut << 8 | nParams << 16]
//   nIn  x [slot, generation]                          0,0: absent optional input
//   nOut x [slot, generation, dtype | ndim << 8, dims]
//   nParams words, laid out as ns::op::<name>::Params
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "native/abi/backend.h"

namespace ns::core {

constexpr uint32_t kDispose = 1;   // inputs: the slots to release
constexpr uint32_t kEndGroup = 2;  // forgets a cancelled group
constexpr uint32_t kView = 3;      // one input, one output that shares its memory; params: offset in bytes, low and high word
// A capture; params: its id. Neither inputs nor outputs.
constexpr uint32_t kCaptureBegin = 4;  // what follows is executed and recorded
constexpr uint32_t kCaptureEnd = 5;
constexpr uint32_t kReplay = 6;       // executes it again, in the same memory
constexpr uint32_t kDropCapture = 7;  // releases that memory
constexpr uint32_t kEmpty = 8;        // one output, whose contents are unspecified
constexpr uint32_t kMaxSlots = 1u << 22;
constexpr int kMaxInputs = 64;
constexpr int kMaxOutputs = 8;

struct SlotRef {
  uint32_t slot = 0;
  uint32_t generation = 0;  // 0: no slot
};

struct TensorInfo {
  int32_t dtype = 0;
  int32_t ndim = 0;
  int64_t dims[NS_MAX_DIMS] = {};
};

struct Command {
  uint32_t op = 0;
  uint32_t group = 0;
  int32_t nIn = 0;
  int32_t nOut = 0;
  int32_t nParams = 0;
  SlotRef in[kMaxInputs];
  SlotRef out[kMaxOutputs];
  TensorInfo outInfo[kMaxOutputs];
  const uint32_t* params = nullptr;
};

// Reads the command at words[0]; returns its length in words, or 0 and the reason. Checks counts, bounds, ids, dtypes, dims
// and parameter values against ops.json; whether the slots exist is known to the worker only.
size_t decode(const uint32_t* words, size_t n, Command& c, std::string& why);

// Number of commands in a batch, or -1 and the reason.
int64_t validate(const uint32_t* words, size_t n, std::string& why);

// Bytes of a tensor, or SIZE_MAX where a dim is below 1 or the product does not fit.
size_t tensorBytes(const TensorInfo& t);
std::string shapeText(const TensorInfo& t);  // f32[2,3]
const char* opName(uint32_t op);

}  // namespace ns::core

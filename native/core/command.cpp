#include "native/core/command.h"

#include "native/abi/dtype.h"
#include "native/abi/gen/ops.h"

namespace ns::core {

namespace {

constexpr size_t kHeader = 4;

struct Reader {
  const uint32_t* at;
  const uint32_t* end;
  bool has(size_t n) const { return static_cast<size_t>(end - at) >= n; }
};

bool readSlot(Reader& r, SlotRef& s, std::string& why) {
  if (!r.has(2)) {
    why = "a slot is cut off";
    return false;
  }
  s.slot = r.at[0];
  s.generation = r.at[1];
  r.at += 2;
  if (s.slot >= kMaxSlots) {
    why = "slot " + std::to_string(s.slot) + " is out of range";
    return false;
  }
  return true;
}

bool readOutput(Reader& r, SlotRef& s, TensorInfo& t, std::string& why) {
  if (!readSlot(r, s, why)) return false;
  if (s.generation == 0 || !r.has(1)) {
    why = "an output has no slot or is cut off";
    return false;
  }
  const uint32_t head = *r.at++;
  t.dtype = static_cast<int32_t>(head & 0xff);
  t.ndim = static_cast<int32_t>(head >> 8);
  if (t.dtype > 4 || head >> 8 > NS_MAX_DIMS || !r.has(static_cast<size_t>(t.ndim))) {
    why = "an output has a bad dtype or rank";
    return false;
  }
  for (int i = 0; i < t.ndim; i++) t.dims[i] = static_cast<int64_t>(*r.at++);
  if (tensorBytes(t) == SIZE_MAX) {
    why = "output " + shapeText(t) + " has an impossible size";
    return false;
  }
  return true;
}

// kinds: one letter per attribute, written by scripts/gen/cpp.mjs.
bool checkParams(const char* kinds, const uint32_t* p, std::string& why) {
  for (; *kinds; kinds++) {
    bool ok = true;
    switch (*kinds) {
      case 'f':
      case 'i': p++; break;
      case 'b': ok = *p++ <= 1; break;
      case 't': ok = *p++ <= 4; break;
      case 'd':
        ok = *p <= NS_MAX_DIMS;
        p += 7;
        break;
      default: ok = *p++ < static_cast<uint32_t>(*kinds - 'A' + 1); break;  // 'A' + number of enum values - 1
    }
    if (!ok) {
      why = "a parameter is out of range";
      return false;
    }
  }
  return true;
}

bool checkAgainstOp(const Command& c, std::string& why) {
  if (c.op == kDispose) return c.nOut == 0 && c.nParams == 0 ? true : (why = "dispose takes inputs only", false);
  if (c.op == kEndGroup) return c.nIn + c.nOut + c.nParams == 0 ? true : (why = "end of group takes nothing", false);
  if (c.op == kView) {
    return c.nIn == 1 && c.in[0].generation != 0 && c.nOut == 1 && c.nParams == 2
               ? true
               : (why = "a view takes one input, one output and two parameters", false);
  }
  if (c.op == kEmpty) return c.nIn + c.nParams == 0 && c.nOut == 1 ? true : (why = "an empty tensor is one output", false);
  if (c.op >= kCaptureBegin && c.op <= kDropCapture) {
    return c.nIn == 0 && c.nOut == 0 && c.nParams == 1 ? true : (why = "a capture command takes one parameter only", false);
  }
  const int64_t index = static_cast<int64_t>(c.op) - op::kFirstId;
  if (index < 0 || index >= op::kOpCount) {
    why = "op " + std::to_string(c.op) + " is unknown";
    return false;
  }
  const op::Info& info = op::kInfo[index];
  if (c.nIn != info.inputs || c.nOut != info.outputs || c.nParams != info.params) {
    why = std::string("[") + info.name + "] has a wrong number of inputs, outputs or parameters";
    return false;
  }
  for (int i = 0; i < c.nIn; i++) {
    if (c.in[i].generation == 0 && !(info.optional >> i & 1)) {
      why = std::string("[") + info.name + "] input " + std::to_string(i) + " is missing";
      return false;
    }
  }
  return checkParams(info.kinds, c.params, why);
}

}  // namespace

size_t tensorBytes(const TensorInfo& t) {
  uint64_t n = dtypeSize(static_cast<DType>(t.dtype));
  for (int i = 0; i < t.ndim; i++) {
    if (t.dims[i] < 1 || t.dims[i] > 0x7fffffff || n > (uint64_t{1} << 46) / static_cast<uint64_t>(t.dims[i])) return SIZE_MAX;
    n *= static_cast<uint64_t>(t.dims[i]);
  }
  return static_cast<size_t>(n);
}

std::string shapeText(const TensorInfo& t) {
  std::string s = std::string(dtypeName(static_cast<DType>(t.dtype))) + "[";
  for (int i = 0; i < t.ndim; i++) s += (i ? "," : "") + std::to_string(t.dims[i]);
  return s + "]";
}

const char* opName(uint32_t op) {
  if (op == kDispose) return "dispose";
  if (op == kEndGroup) return "endGroup";
  if (op == kView) return "view";
  if (op == kEmpty) return "empty";
  if (op == kCaptureBegin || op == kCaptureEnd) return "capture";
  if (op == kReplay || op == kDropCapture) return "replay";
  const int64_t index = static_cast<int64_t>(op) - op::kFirstId;
  return index >= 0 && index < op::kOpCount ? op::kInfo[index].name : "?";
}

size_t decode(const uint32_t* words, size_t n, Command& c, std::string& why) {
  if (n < kHeader) return why = "the header is cut off", 0;
  const size_t total = words[0];
  if (total < kHeader || total > n) return why = "the length " + std::to_string(total) + " does not fit the batch", 0;
  c.op = words[1];
  c.group = words[2];
  c.nIn = static_cast<int32_t>(words[3] & 0xff);
  c.nOut = static_cast<int32_t>(words[3] >> 8 & 0xff);
  c.nParams = static_cast<int32_t>(words[3] >> 16);
  if (c.nIn > kMaxInputs || c.nOut > kMaxOutputs) return why = "too many inputs or outputs", 0;
  Reader r{words + kHeader, words + total};
  for (int i = 0; i < c.nIn; i++) {
    if (!readSlot(r, c.in[i], why)) return 0;
  }
  for (int i = 0; i < c.nOut; i++) {
    if (!readOutput(r, c.out[i], c.outInfo[i], why)) return 0;
  }
  if (static_cast<size_t>(r.end - r.at) != static_cast<size_t>(c.nParams)) return why = "the parameters do not fill the command", 0;
  c.params = r.at;
  return checkAgainstOp(c, why) ? total : 0;
}

int64_t validate(const uint32_t* words, size_t n, std::string& why) {
  int64_t count = 0;
  Command c;
  for (size_t at = 0; at < n; count++) {
    const size_t used = decode(words + at, n - at, c, why);
    if (used == 0) {
      why = "command " + std::to_string(count) + " of the batch: " + why;
      return -1;
    }
    at += used;
  }
  return count;
}

}  // namespace ns::core

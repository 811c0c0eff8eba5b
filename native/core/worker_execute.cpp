#include <chrono>
#include <cstring>

#include "native/core/worker.h"

namespace ns::core {

namespace {

NsTensor view(const Slot& s) {
  NsTensor t{};
  t.data = s.data();
  t.dtype = s.info.dtype;
  t.ndim = s.info.ndim;
  std::memcpy(t.dims, s.info.dims, sizeof(t.dims));
  return t;
}

uint32_t mutated(uint32_t id) {
  const int64_t index = static_cast<int64_t>(id) - op::kFirstId;
  return index >= 0 && index < op::kOpCount ? op::kInfo[index].mutated : 0;
}

bool overlap(const Slot& a, const Slot& b) {
  return a.storage == b.storage && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

// What an op writes in place, none of its other inputs may hold: the kernels read and write in any order and on several threads. Only
// accumulate takes the very same range twice, since it reads each element before it replaces it.
bool apart(const Command& c, Slot* const* in, Status& status) {
  const uint32_t mask = mutated(c.op);
  for (int i = 0; i < c.nIn && i < 32; i++) {
    for (int j = 0; in[i] && (mask >> i & 1) && j < c.nIn; j++) {
      if (j == i || !in[j] || !overlap(*in[i], *in[j])) continue;
      if (c.op == op::accumulate::kId && in[i]->offset == in[j]->offset && in[i]->bytes == in[j]->bytes) continue;
      status = failure(NS_INVALID, "[%s] input %d is written in place and shares memory with input %d", opName(c.op), i, j);
      return false;
    }
  }
  return true;
}

}  // namespace

bool Engine::Worker::isCancelled(uint32_t group) {
  if (group == 0 || e_.cancelled_ == 0) return false;
  std::lock_guard<std::mutex> lock(e_.mutex_);
  return e_.groups_.count(group) != 0;
}

// The error that keeps the command from running: an unknown slot, a poisoned one, a lost device, a cancelled group.
ErrorPtr Engine::Worker::findPoison(const Command& c, Slot** in) {
  ErrorPtr poison;
  for (int i = 0; i < c.nIn; i++) {
    in[i] = c.in[i].generation ? slots_.find(c.in[i]) : nullptr;
    if (poison) continue;
    Status status;
    if (c.in[i].generation && !in[i]) {
      poison =
          fail(failure(NS_INVALID, "input %d: slot %u generation %u is not live", i, c.in[i].slot, c.in[i].generation), opName(c.op), "");
    } else if (in[i] && in[i]->error()) {
      poison = in[i]->error();
    } else if (in[i] && in[i]->file() && !in[i]->file()->intact(status)) {
      poison = fail(status, opName(c.op), shapeText(in[i]->info));
    }
  }
  if (!poison) poison = e_.errors_.lost();
  return poison || !isCancelled(c.group) ? poison : cancelled(opName(c.op));
}

ErrorPtr Engine::Worker::cancelled(const char* op) {
  auto error = std::make_shared<LateError>();
  error->code = NS_CANCELLED;
  error->command = number_;
  error->op = op;
  error->message = "the work was cancelled";
  return error;
}

void Engine::Worker::execute(const Command& c) {
  Slot* in[kMaxInputs] = {};
  Slot* out[kMaxOutputs] = {};
  define(c, in, out, findPoison(c, in));
}

void Engine::Worker::define(const Command& c, Slot** in, Slot** out, ErrorPtr poison) {
  for (int i = 0; i < c.nOut; i++) {
    out[i] = slots_.open(c.out[i], c.outInfo[i]);
    if (!out[i] && !poison) poison = fail(failure(NS_INVALID, "output slot %u is in use", c.out[i].slot), opName(c.op), "");
  }
  Status status;
  if (!poison && !call(c, in, out, status)) {
    poison = fail(status, opName(c.op), shapes(c, in));
    if (recording_ && recording_->broken) e_.errors_.tell(poison);  // nobody would ask for it: what follows carries the first one
  }
  if (!poison) return;
  if (recording_) poison = recording_->broken = recording_->broken ? recording_->broken : poison;
  for (int i = 0; i < c.nOut; i++) {
    if (out[i]) out[i]->poison = poison;
  }
  const uint32_t mask = mutated(c.op);
  for (int i = 0; i < c.nIn && i < 32; i++) {
    if (!in[i] || in[i]->error() || !(mask >> i & 1)) continue;
    // What an op has left half-done in shared memory, every view of it sees.
    (in[i]->storage ? in[i]->storage->poison : in[i]->poison) = poison;
  }
}

bool Engine::Worker::call(const Command& c, Slot** in, Slot** out, Status& status) {
  if (!apart(c, in, status)) return false;
  NsTensor inputs[kMaxInputs];
  NsTensor outputs[kMaxOutputs];
  for (int i = 0; i < c.nIn; i++) inputs[i] = in[i] ? view(*in[i]) : NsTensor{};
  for (int i = 0; i < c.nOut; i++) {
    if (!slots_.reserve(*out[i], status)) return false;
    outputs[i] = view(*out[i]);
  }
  const NsCall call{static_cast<int32_t>(c.op), c.nIn, c.nOut, inputs, outputs, c.params};
  invoke(call, status);
  // A second try is safe only where the first cannot have changed an input.
  if (status.code == NS_OUT_OF_MEMORY && mutated(c.op) == 0) {
    e_.memory_->trim();
    status = Status();
    invoke(call, status);
  }
  if (recording_ && status.ok()) recording_->record(c, inputs, outputs, in, out);
  return status.ok();
}

void Engine::Worker::invoke(const NsCall& call, Status& status) {
  const auto begin = std::chrono::steady_clock::now();
  table_.execute(e_.self_, &call, &status);
  const auto spent = std::chrono::steady_clock::now() - begin;
  const int index = call.op - op::kFirstId;
  e_.counters_.opCount[index]++;
  e_.counters_.opNanos[index] += static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count());
}

std::string Engine::Worker::shapes(const Command& c, Slot** in) const {
  std::string text;
  for (int i = 0; i < c.nIn; i++) text += (i ? ", " : "") + (in[i] ? shapeText(in[i]->info) : std::string("-"));
  text += " ->";
  for (int i = 0; i < c.nOut; i++) text += (i ? ", " : " ") + shapeText(c.outInfo[i]);
  return text;
}

ErrorPtr Engine::Worker::fail(const Status& status, const char* op, std::string shapes) {
  const ErrorPtr error = e_.errors_.fail(status, op, std::move(shapes), number_);
  if (status.code == NS_OUT_OF_MEMORY) e_.setDescription();  // the device says there what holds its memory
  return error;
}

}  // namespace ns::core

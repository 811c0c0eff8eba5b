#include "native/core/worker.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>

namespace ns::core {

namespace {

constexpr size_t kMaxUnreported = 64;

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

Engine::Worker::Worker(Engine& engine) : e_(engine), slots_(*engine.memory_), exhausted_(std::make_shared<LateError>()) {
  exhausted_->code = NS_OUT_OF_MEMORY;
  exhausted_->op = "engine";
  exhausted_->message = "no host memory for the engine's own records";
}

// A command was lost half-way: nothing after it can be trusted, so the device counts as lost.
void Engine::Worker::exhausted() {
  if (!lost_) lost_ = exhausted_;
  e_.counters_.failed++;
}

void Engine::Worker::dispatch(Item& item, bool& open) {
  switch (item.kind) {
    case Item::kBatch: batch(item); break;
    case Item::kUpload: upload(item); break;
    case Item::kMap: map(item); break;
    case Item::kRead: read(item); break;
    case Item::kFlush: settle(item.token); break;
    case Item::kClose: open = false; break;
  }
}

bool Engine::Worker::run(Item& item) {
  bool open = true;
  try {
    dispatch(item, open);
  } catch (const std::bad_alloc&) {
    exhausted();
    if (item.kind == Item::kRead || item.kind == Item::kFlush) e_.sink_(Event{Event::kSettled, item.token, exhausted_});
  }
  if (item.kind != Item::kBatch) {
    e_.counters_.retired++;
    if (item.kind == Item::kUpload) e_.counters_.retiredBytes += item.bytes;
  }
  e_.releaseWaiters(!open);
  if (!open) {
    Status status;
    e_.backend_.table->synchronize(e_.self_, &status);
    if (!status.ok()) fail(status, "close", "");
    closed = Event{Event::kClosed, item.token, firstUnreported()};
    slots_.clear();
  }
  return open;
}

void Engine::Worker::batch(const Item& item) {
  Command c;
  std::string why;
  for (size_t at = 0; at < item.words.size() && !e_.stop_;) {
    const size_t used = decode(item.words.data() + at, item.words.size() - at, c, why);
    if (used == 0) return;  // cannot be: submit() has validated the batch
    at += used;
    try {
      command(c);
    } catch (const std::bad_alloc&) {
      exhausted();
    }
    e_.counters_.retired++;
    e_.counters_.retiredBytes += used * 4;
    e_.releaseWaiters(false);
  }
}

void Engine::Worker::command(const Command& c) {
  if (c.op == kDispose) return dispose(c);
  if (c.op == kEndGroup) {
    std::lock_guard<std::mutex> lock(e_.mutex_);
    if (e_.groups_.erase(c.group)) e_.cancelled_--;
    return;
  }
  number_++;
  if (c.op == kView) return share(c);
  execute(c);
}

void Engine::Worker::share(const Command& c) {
  Slot* in[kMaxInputs] = {};
  ErrorPtr poison = findPoison(c, in);
  Slot* out = slots_.open(c.out[0], c.outInfo[0]);
  if (!out) {
    fail(failure(NS_INVALID, "output slot %u is in use", c.out[0].slot), opName(c.op), "");
    return;
  }
  Status status;
  const uint64_t offset = static_cast<uint64_t>(c.params[1]) << 32 | c.params[0];
  if (!poison && !slots_.share(*out, *in[0], offset, status)) poison = fail(status, opName(c.op), shapeText(in[0]->info));
  out->poison = poison;
}

void Engine::Worker::dispose(const Command& c) {
  for (int i = 0; i < c.nIn; i++) {
    if (Slot* s = slots_.find(c.in[i])) {
      slots_.close(*s);
    } else if (c.in[i].generation != 0) {
      fail(failure(NS_INVALID, "slot %u generation %u is not live", c.in[i].slot, c.in[i].generation), "dispose", "");
    }
  }
}

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
  if (!poison && lost_) poison = lost_;
  if (!poison && isCancelled(c.group)) {
    poison = std::make_shared<LateError>();
    poison->code = NS_CANCELLED;
    poison->command = number_;
    poison->op = opName(c.op);
    poison->message = "the work was cancelled";
  }
  return poison;
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
    if (status.code == NS_LOST) lost_ = poison;
  }
  if (!poison) return;
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
  invoke(c, inputs, outputs, status);
  // A second try is safe only where the first cannot have changed an input.
  if (status.code == NS_OUT_OF_MEMORY && mutated(c.op) == 0) {
    e_.memory_->trim();
    status = Status();
    invoke(c, inputs, outputs, status);
  }
  return status.ok();
}

void Engine::Worker::invoke(const Command& c, const NsTensor* in, const NsTensor* out, Status& status) {
  const NsCall call{static_cast<int32_t>(c.op), c.nIn, c.nOut, in, out, c.params};
  const auto begin = std::chrono::steady_clock::now();
  e_.backend_.table->execute(e_.self_, &call, &status);
  const auto spent = std::chrono::steady_clock::now() - begin;
  const int index = static_cast<int>(c.op) - op::kFirstId;
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
  auto error = std::make_shared<LateError>();
  error->code = status.code;
  error->command = number_;
  error->op = op;
  error->shapes = std::move(shapes);
  error->message = status.message;
  e_.counters_.failed++;
  if (unreported_.size() >= kMaxUnreported) {
    const auto told = [](const ErrorPtr& e) { return e->reported; };
    unreported_.erase(std::remove_if(unreported_.begin(), unreported_.end(), told), unreported_.end());
  }
  if (unreported_.size() < kMaxUnreported) unreported_.push_back(error);
  e_.sink_(Event{Event::kLate, 0, error});
  return error;
}

// Tells the first one; the others were told as events, and their tensors stay poisoned.
ErrorPtr Engine::Worker::firstUnreported() {
  ErrorPtr first;
  for (const ErrorPtr& e : unreported_) {
    if (!first && !e->reported) first = e;
    e->reported = true;
  }
  unreported_.clear();
  if (!first && lost_ == exhausted_ && !lost_->reported) first = lost_;
  if (first) first->reported = true;
  return first;
}

void Engine::Worker::settle(uint64_t token) {
  Status status;
  e_.backend_.table->synchronize(e_.self_, &status);
  if (!status.ok()) fail(status, "flush", "");
  e_.sink_(Event{Event::kSettled, token, firstUnreported()});
}

Slot* Engine::Worker::openFor(const Item& item, const char* op) {
  number_++;
  Slot* s = slots_.open(item.ref, item.info);
  if (!s) fail(failure(NS_INVALID, "slot %u is in use", item.ref.slot), op, shapeText(item.info));
  if (s && lost_) s->poison = lost_;
  return s && !s->poison ? s : nullptr;
}

void Engine::Worker::upload(Item& item) {
  Slot* s = openFor(item, "upload");
  if (!s) return;
  Status status;
  if (slots_.reserve(*s, status)) e_.backend_.table->upload(e_.self_, s->data(), item.data.get(), item.bytes, &status);
  if (!status.ok()) s->poison = fail(status, "upload", shapeText(item.info));
  if (status.code == NS_LOST) lost_ = s->poison;
}

void Engine::Worker::map(Item& item) {
  Slot* s = openFor(item, "fromFile");
  if (!s) return;
  Status status;
  std::unique_ptr<Mapping> m;
  if (auto file = files_.open(item.path, status)) m = Mapping::create(std::move(file), item.offset, item.bytes, status);
  const size_t size = dtypeSize(static_cast<DType>(item.info.dtype));
  if (m && e_.backend_.host && item.offset % size == 0) {
    slots_.map(*s, std::move(m));
  } else if (m && slots_.reserve(*s, status)) {
    e_.backend_.table->upload(e_.self_, s->data(), m->data(), item.bytes, &status);
  }
  if (!status.ok()) s->poison = fail(status, "fromFile", shapeText(item.info));
}

void Engine::Worker::read(const Item& item) {
  Slot* s = slots_.find(item.ref);
  Status status;
  ErrorPtr error;
  if (!s || s->bytes != item.bytes) {
    error = fail(failure(NS_INVALID, "slot %u generation %u is not live", item.ref.slot, item.ref.generation), "read", "");
  } else if (s->error()) {
    error = s->error();
  } else if (lost_ == exhausted_) {
    error = lost_;
  } else if (s->file() && !s->file()->intact(status)) {
    error = fail(status, "read", shapeText(s->info));
  } else {
    e_.backend_.table->download(e_.self_, item.destination, s->data(), item.bytes, &status);
    if (!status.ok()) error = fail(status, "read", shapeText(s->info));
  }
  if (error) error->reported = true;
  e_.sink_(Event{Event::kSettled, item.token, error});
}

}  // namespace ns::core

#include "native/core/worker.h"

#include <exception>
#include <new>

namespace ns::core {

namespace {

// Larger reads go straight to their place: the worker waits, and no pinned memory of that size is needed.
constexpr size_t kReadLater = size_t{32} << 20;

}  // namespace

Engine::Worker::Worker(Engine& engine) : e_(engine), table_(*engine.backend_.table), slots_(*engine.memory_) {
  if (!table_.copy_begin || !table_.copy_finish) return;
  try {
    retire_ = std::make_unique<Retire>(table_, e_.self_, e_.errors_, e_.sink_);
  } catch (const std::exception&) {
    // Without a second thread the worker waits for each read itself.
  }
}

Engine::Worker::~Worker() {
  retire_.reset();
  for (auto& [id, capture] : captures_) release(*capture);
}

void Engine::Worker::dispatch(Item& item, bool& open) {
  switch (item.kind) {
    case Item::kBatch: batch(item); break;
    case Item::kUpload: upload(item); break;
    case Item::kWrite: write(item); break;
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
    e_.errors_.exhaust();
    if (item.kind == Item::kRead || item.kind == Item::kFlush) e_.sink_(Event{Event::kSettled, item.token, e_.errors_.exhausted()});
  }
  if (item.kind != Item::kBatch) {
    e_.counters_.retired++;
    if (item.kind == Item::kUpload || item.kind == Item::kWrite) e_.counters_.retiredBytes += item.bytes;
  }
  e_.releaseWaiters(!open);
  if (!open) close(item);
  return open;
}

void Engine::Worker::close(const Item& item) {
  if (retire_) retire_->stop(false);
  Status status;
  table_.synchronize(e_.self_, &status);
  if (!status.ok()) fail(status, "close", "");
  closed = Event{Event::kClosed, item.token, e_.errors_.first()};
  for (auto& [id, capture] : captures_) release(*capture);
  captures_.clear();
  slots_.clear();
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
      e_.errors_.exhaust();
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
  switch (c.op) {
    case kView: return share(c);
    case kEmpty: return makeEmpty(c);
    case kCaptureBegin: return captureBegin(c.params[0]);
    case kCaptureEnd: return captureEnd(c.params[0]);
    case kReplay: return replay(c);
    case kDropCapture: return drop(c.params[0]);
    default: return execute(c);
  }
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

void Engine::Worker::makeEmpty(const Command& c) {
  ErrorPtr poison = findPoison(c, nullptr);
  Slot* out = slots_.open(c.out[0], c.outInfo[0]);
  if (!out) {
    fail(failure(NS_INVALID, "output slot %u is in use", c.out[0].slot), opName(c.op), "");
    return;
  }
  if (!poison && recording_) poison = recording_->broken;  // one error for what will not be replayed
  Status status;
  if (!poison && !slots_.reserve(*out, status)) poison = fail(status, opName(c.op), shapeText(out->info));
  if (!poison && recording_) recording_->made(*out);
  if (poison && recording_ && !recording_->broken) recording_->broken = poison;
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

void Engine::Worker::settle(uint64_t token) {
  Status status;
  void* mark = retire_ ? table_.copy_begin(e_.self_, nullptr, 0, &status) : nullptr;
  if (mark) {
    Pending p;
    p.ticket = mark;
    p.token = token;
    p.command = number_;
    p.what = "flush";
    p.error = e_.errors_.first();
    return retire_->push(std::move(p));
  }
  if (status.ok()) table_.synchronize(e_.self_, &status);
  if (!status.ok()) fail(status, "flush", "");
  e_.sink_(Event{Event::kSettled, token, e_.errors_.first()});
}

Slot* Engine::Worker::openFor(const Item& item, const char* op) {
  number_++;
  Slot* s = slots_.open(item.ref, item.info);
  if (!s) fail(failure(NS_INVALID, "slot %u is in use", item.ref.slot), op, shapeText(item.info));
  if (s) s->poison = e_.errors_.lost();
  return s && !s->poison ? s : nullptr;
}

void Engine::Worker::upload(Item& item) {
  Slot* s = openFor(item, "upload");
  if (!s) return;
  Status status;
  if (slots_.reserve(*s, status, true)) table_.upload(e_.self_, s->data(), item.data.get(), item.bytes, &status);
  if (!status.ok()) s->poison = fail(status, "upload", shapeText(item.info));
}

void Engine::Worker::write(Item& item) {
  number_++;
  Slot* s = slots_.find(item.ref);
  if (s && (s->error() || e_.errors_.lost())) return;
  Status status;
  if (!s || s->info.dtype != item.info.dtype || s->bytes != item.bytes) {
    status = failure(NS_INVALID, "slot %u generation %u is not live or has another size", item.ref.slot, item.ref.generation);
  } else if (s->file()) {
    status = failure(NS_INVALID, "the tensor is a range of a file");
  } else {
    table_.upload(e_.self_, s->data(), item.data.get(), item.bytes, &status);
    if (!status.ok()) s->storage->poison = fail(status, "write", shapeText(item.info));
    return;
  }
  fail(status, "write", shapeText(item.info));
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
  } else if (m && slots_.reserve(*s, status, true)) {
    table_.upload(e_.self_, s->data(), m->data(), item.bytes, &status);
  }
  if (!status.ok()) s->poison = fail(status, "fromFile", shapeText(item.info));
}

// True: the request is with the other thread now. False and ok: the device has nothing to wait for.
bool Engine::Worker::readLater(const Item& item, Slot& slot, Status& status) {
  if (item.bytes > kReadLater || retire_->bytes() + item.bytes > e_.config_.maxReadBytes) return false;
  Pending p;
  p.shapes = shapeText(slot.info);
  p.ticket = table_.copy_begin(e_.self_, slot.data(), item.bytes, &status);
  if (!p.ticket) return false;
  p.destination = item.destination;
  p.bytes = item.bytes;
  p.token = item.token;
  p.command = number_;
  p.what = "read";
  retire_->push(std::move(p));
  return true;
}

void Engine::Worker::read(const Item& item) {
  Slot* s = slots_.find(item.ref);
  Status status;
  ErrorPtr error;
  if (!s || s->bytes != item.bytes) {
    error = fail(failure(NS_INVALID, "slot %u generation %u is not live", item.ref.slot, item.ref.generation), "read", "");
  } else if (s->error()) {
    error = s->error();
  } else if (e_.errors_.lost() == e_.errors_.exhausted()) {
    error = e_.errors_.exhausted();
  } else if (s->file() && !s->file()->intact(status)) {
    error = fail(status, "read", shapeText(s->info));
  } else {
    if (retire_ && readLater(item, *s, status)) return;
    if (status.ok()) table_.download(e_.self_, item.destination, s->data(), item.bytes, &status);
    if (!status.ok()) error = fail(status, "read", shapeText(s->info));
  }
  if (error) e_.errors_.tell(error);
  e_.sink_(Event{Event::kSettled, item.token, error});
}

}  // namespace ns::core

#include "native/core/capture.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace ns::core {

namespace {

std::string text(const NsTensor& t) {
  if (!t.data) return "-";
  TensorInfo info;
  info.dtype = t.dtype;
  info.ndim = t.ndim;
  std::memcpy(info.dims, t.dims, sizeof(info.dims));
  return shapeText(info);
}

}  // namespace

std::string RecordedCall::shapes() const {
  std::string s;
  for (int i = 0; i < nIn; i++) s += (i ? ", " : "") + text(tensors[static_cast<size_t>(i)]);
  s += " ->";
  for (int i = 0; i < nOut; i++) s += (i ? ", " : " ") + text(tensors[static_cast<size_t>(nIn + i)]);
  return s;
}

Capture::~Capture() {
  for (Outside& o : outside_) slots_.letGo(std::move(o.storage));
  arena_->drop();
}

void Capture::hold(const Slot& slot, bool changed) {
  if (!slot.storage || slot.storage->arena == arena_) return;
  const auto [at, isNew] = index_.emplace(slot.storage.get(), outside_.size());
  if (isNew) outside_.push_back({slot.storage, 0});
  if (changed) outside_[at->second].changed = calls_.size() + 1;
}

void Capture::record(const Command& c, const NsTensor* in, const NsTensor* out, Slot* const* inSlots, Slot* const* outSlots) {
  const uint32_t mutated = op::kInfo[static_cast<int64_t>(c.op) - op::kFirstId].mutated;
  for (int i = 0; i < c.nIn; i++) {
    if (inSlots[i]) hold(*inSlots[i], i < 32 && (mutated >> i & 1) != 0);
  }
  for (int i = 0; i < c.nOut; i++) made_.push_back(outSlots[i]->storage);
  RecordedCall call;
  call.op = c.op;
  call.nIn = c.nIn;
  call.nOut = c.nOut;
  call.tensors.assign(in, in + c.nIn);
  call.tensors.insert(call.tensors.end(), out, out + c.nOut);
  call.params.assign(c.params, c.params + c.nParams);
  calls_.push_back(std::move(call));
}

void Capture::finish() {
  made_.erase(std::remove_if(made_.begin(), made_.end(), [](const auto& w) { return w.expired(); }), made_.end());
  index_.clear();
}

ErrorPtr Capture::blocked(Status& status) const {
  if (broken) return broken;
  for (const Outside& o : outside_) {
    if (o.storage->poison) return o.storage->poison;
    if (o.storage->file && !o.storage->file->intact(status)) return nullptr;
  }
  return nullptr;
}

void Capture::poison(const ErrorPtr& error, size_t first) {
  for (const auto& weak : made_) {
    if (const auto storage = weak.lock()) storage->poison = error;
  }
  for (const Outside& o : outside_) {
    if (o.changed > first && !o.storage->poison) o.storage->poison = error;
  }
}

void Capture::heal() {
  for (const auto& weak : made_) {
    if (const auto storage = weak.lock()) storage->poison = nullptr;
  }
}

}  // namespace ns::core

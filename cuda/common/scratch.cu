#include <new>

#include "cuda/common/scratch.h"

namespace ns::cuda {

StreamScratch::~StreamScratch() {
  graphs_ = 0;
  for (Buffer& b : slots_) give(b);
  for (Buffer& b : retained_) give(b);
}

void StreamScratch::give(Buffer& b) {
  memory_.give(b.data, b.size);
  b = Buffer();
}

void* StreamScratch::bytes(int slot, size_t n) {
  if (slot < 0 || slot >= kSlots) throw std::bad_alloc();
  Buffer& b = slots_[slot];
  if (n <= b.size && b.data) return b.data;
  const size_t unit = n < (size_t{1} << 20) ? size_t{64} << 10 : size_t{2} << 20;
  const size_t size = n == 0 ? unit : (n + unit - 1) / unit * unit;
  if (size < n) throw std::bad_alloc();
  if (b.data && graphs_ > 0) {
    retained_.push_back(b);
    b = Buffer();
  } else {
    give(b);
  }
  b.data = memory_.take(size, why_);
  if (!b.data) throw std::bad_alloc();
  b.size = size;
  return b.data;
}

void StreamScratch::letGo() {
  if (--graphs_ > 0) return;
  for (Buffer& b : retained_) give(b);
  retained_.clear();
}

void StreamScratch::drop() {
  if (graphs_ > 0) return;
  for (Buffer& b : slots_) give(b);
}

size_t StreamScratch::held() const {
  size_t n = 0;
  for (const Buffer& b : slots_) n += b.size;
  for (const Buffer& b : retained_) n += b.size;
  return n;
}

}  // namespace ns::cuda

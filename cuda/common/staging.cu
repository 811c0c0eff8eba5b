#include <algorithm>
#include <cstring>
#include <new>

#include "cuda/common/staging.h"

namespace ns::cuda {

Uploads::~Uploads() {
  for (Part& p : parts_) {
    if (p.host) cudaFreeHost(p.host);
    memory_.give(p.device, kPart);
    if (p.arrived) cudaEventDestroy(p.arrived);
    if (p.consumed) cudaEventDestroy(p.consumed);
  }
  for (Page& p : pages_) {
    if (p.host) cudaFreeHost(p.host);
    if (p.done) cudaEventDestroy(p.done);
  }
}

Status Uploads::open(Page& p) {
  Status s;
  if (!p.host) s = device_.note(cudaMallocHost(&p.host, kPage), "pinned memory");
  if (!p.done && s.ok()) s = device_.note(cudaEventCreateWithFlags(&p.done, cudaEventDisableTiming | cudaEventBlockingSync), "event");
  return s;
}

Status Uploads::nextPage() {
  const Status s = device_.note(cudaEventRecord(pages_[page_].done, device_.compute), "upload");
  if (!s.ok()) return s;
  page_ = (page_ + 1) % kPages;
  used_ = 0;
  return pages_[page_].done ? device_.note(cudaEventSynchronize(pages_[page_].done), "upload") : Status();
}

Status Uploads::small(void* dst, const void* src, size_t bytes) {
  Status s = used_ + bytes > kPage ? nextPage() : Status();
  if (s.ok()) s = open(pages_[page_]);
  if (!s.ok()) return s;
  void* const host = static_cast<char*>(pages_[page_].host) + used_;
  used_ += (bytes + 63) / 64 * 64;
  std::memcpy(host, src, bytes);
  return device_.note(cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, device_.compute), "upload");
}

Status Uploads::open(Part& p) {
  if (p.consumed) return Status();
  Status s;
  if (!p.device) p.device = memory_.take(kPart, s);
  if (!p.host && s.ok()) s = device_.note(cudaMallocHost(&p.host, kPart), "pinned memory");
  const unsigned flags = cudaEventDisableTiming | cudaEventBlockingSync;
  if (!p.arrived && s.ok()) s = device_.note(cudaEventCreateWithFlags(&p.arrived, flags), "event");
  // The memory comes in the order of the compute stream, and is used on the other one.
  cudaEvent_t consumed = nullptr;
  if (s.ok()) s = device_.note(cudaEventCreateWithFlags(&consumed, flags), "event");
  if (s.ok()) s = device_.note(cudaEventRecord(consumed, device_.compute), "event");
  if (s.ok()) {
    p.consumed = consumed;
  } else if (consumed) {
    cudaEventDestroy(consumed);
  }
  return s;
}

Status Uploads::send(Part& p, void* dst, const void* src, size_t bytes) {
  Status s = open(p);
  if (s.ok()) s = device_.note(cudaEventSynchronize(p.arrived), "upload");
  if (!s.ok()) return s;
  std::memcpy(p.host, src, bytes);
  s = device_.note(cudaStreamWaitEvent(device_.copy, p.consumed, 0), "upload");
  if (s.ok()) s = device_.note(cudaMemcpyAsync(p.device, p.host, bytes, cudaMemcpyHostToDevice, device_.copy), "upload");
  if (s.ok()) s = device_.note(cudaEventRecord(p.arrived, device_.copy), "upload");
  if (s.ok()) s = device_.note(cudaStreamWaitEvent(device_.compute, p.arrived, 0), "upload");
  if (s.ok()) s = device_.note(cudaMemcpyAsync(dst, p.device, bytes, cudaMemcpyDeviceToDevice, device_.compute), "upload");
  if (s.ok()) s = device_.note(cudaEventRecord(p.consumed, device_.compute), "upload");
  return s;
}

Status Uploads::run(void* dst, const void* src, size_t bytes) {
  if (bytes <= kSmall) return small(dst, src, bytes);
  Status s;
  for (size_t at = 0; at < bytes && s.ok(); at += kPart) {
    s = send(parts_[next_], static_cast<char*>(dst) + at, static_cast<const char*>(src) + at, std::min(kPart, bytes - at));
    next_ = (next_ + 1) % kParts;
  }
  return s;
}

Downloads::~Downloads() {
  for (Ticket* t : free_) free(t);
}

void Downloads::free(Ticket* t) {
  if (t->event) cudaEventDestroy(t->event);
  if (t->host) cudaFreeHost(t->host);
  delete t;
}

Ticket* Downloads::take(size_t bytes, Status& status) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      Ticket* t = *it;
      if (t->size < bytes || t->size > 4 * std::max<size_t>(bytes, 4096)) continue;
      free_.erase(it);
      kept_ -= t->size;
      return t;
    }
  }
  auto* t = new (std::nothrow) Ticket;
  if (!t) return status = failure(NS_OUT_OF_MEMORY, "no host memory for a copy"), nullptr;
  t->size = 4096;
  while (t->size < bytes) t->size *= 2;
  status = device_.note(cudaMallocHost(&t->host, kTicketHead + t->size), "pinned memory");
  if (status.ok()) status = device_.note(cudaEventCreateWithFlags(&t->event, cudaEventDisableTiming | cudaEventBlockingSync), "event");
  if (status.ok()) return t;
  free(t);
  return nullptr;
}

void Downloads::give(Ticket* t) {
  try {
    std::lock_guard<std::mutex> lock(mutex_);
    if (kept_ + t->size <= kKeep) {
      free_.push_back(t);
      kept_ += t->size;
      return;
    }
  } catch (const std::bad_alloc&) {
  }
  free(t);
}

Ticket* Downloads::begin(const void* src, size_t bytes, Status& status) {
  status = device_.lost();
  if (!status.ok()) return nullptr;
  Ticket* t = take(src ? bytes : 0, status);
  if (!t) return nullptr;
  char* host = static_cast<char*>(t->host);
  if (src) status = device_.note(cudaMemcpyAsync(host + kTicketHead, src, bytes, cudaMemcpyDeviceToHost, device_.compute), "download");
  // In stream order, so that each error is told by the first copy after it, and once.
  if (status.ok())
    status = device_.note(cudaMemcpyAsync(host, error_, sizeof(DeviceError), cudaMemcpyDeviceToHost, device_.compute), "download");
  if (status.ok()) status = device_.note(cudaMemsetAsync(error_, 0, sizeof(DeviceError), device_.compute), "download");
  if (status.ok()) status = device_.note(cudaEventRecord(t->event, device_.compute), "download");
  if (status.ok()) return t;
  cudaStreamSynchronize(device_.compute);  // nothing may write into the ticket any more
  give(t);
  return nullptr;
}

Status Downloads::finish(Ticket* t, void* dst, size_t bytes) {
  Status s = device_.enter();
  if (s.ok()) s = device_.note(cudaEventSynchronize(t->event), "download");
  if (s.ok()) {
    DeviceError error;
    std::memcpy(&error, t->host, sizeof(error));
    if (dst) std::memcpy(dst, static_cast<char*>(t->host) + kTicketHead, bytes);
    s = describeError(error);
  }
  give(t);
  return s;
}

// Two parts under way: the copy into dst runs beside the next one over the bus.
Status Downloads::run(void* dst, const void* src, size_t bytes) {
  Status s, told;
  Ticket* before = nullptr;
  size_t beforeAt = 0;
  for (size_t at = 0; at < bytes && s.ok(); at += kPart) {
    Ticket* t = begin(static_cast<const char*>(src) + at, std::min(kPart, bytes - at), s);
    if (before) told = finish(before, static_cast<char*>(dst) + beforeAt, std::min(kPart, bytes - beforeAt));
    if (s.ok() && !told.ok()) s = told;
    before = t;
    beforeAt = at;
  }
  if (before) told = finish(before, static_cast<char*>(dst) + beforeAt, std::min(kPart, bytes - beforeAt));
  return s.ok() ? told : s;
}

Status describeError(const DeviceError& e) {
  if (e.code == 0) return Status();
  const int64_t i = static_cast<int64_t>(e.op) - op::kFirstId;
  const char* name = i >= 0 && i < op::kOpCount ? op::kInfo[i].name : "?";
  const auto at = static_cast<long long>(e.at), value = static_cast<long long>(e.value);
  if (e.code == NS_INDEX) return failure(NS_INDEX, "[%s] index %lld at element %lld is out of range", name, value, at);
  return failure(static_cast<NsCode>(e.code), "[%s] the value %lld at element %lld is not valid", name, value, at);
}

}  // namespace ns::cuda

// Copies between host and device through pinned memory.
#pragma once
#include <deque>
#include <mutex>
#include <vector>

#include "cuda/common/allocator.h"

namespace ns::cuda {

// Host to device, always from pinned memory: of pageable memory the driver may take its copy later, or wait for the stream. Small copies go
// in stream order; large ones by a second stream into a buffer on the device, and from there in stream order to their place. So the slow
// way over the bus runs beside the kernels, whatever they still do with the memory it is for.
class Uploads {
 public:
  Uploads(Device& device, Allocator& memory) : device_(device), memory_(memory) {}
  ~Uploads();
  Uploads(const Uploads&) = delete;
  Uploads& operator=(const Uploads&) = delete;
  // When it returns, src may be changed.
  Status run(void* dst, const void* src, size_t bytes);

 private:
  static constexpr size_t kPart = size_t{8} << 20;
  static constexpr int kParts = 4;
  static constexpr size_t kSmall = size_t{64} << 10;
  static constexpr size_t kPage = size_t{512} << 10;
  static constexpr int kPages = 4;
  struct Part {
    void* host = nullptr;
    void* device = nullptr;
    cudaEvent_t arrived = nullptr;   // host may be written again
    cudaEvent_t consumed = nullptr;  // device may be written again
  };
  // Of small copies; filled from the beginning, and again once all its copies are done.
  struct Page {
    void* host = nullptr;
    cudaEvent_t done = nullptr;
  };
  Status open(Page& page);
  Status nextPage();
  Status small(void* dst, const void* src, size_t bytes);
  Status open(Part& part);
  Status send(Part& part, void* dst, const void* src, size_t bytes);

  Device& device_;
  Allocator& memory_;
  Part parts_[kParts];
  int next_ = 0;
  Page pages_[kPages];
  int page_ = 0;
  size_t used_ = 0;  // of the page
};

// A copy to the host that is under way, with what the kernels before it have found wrong with their data.
struct Ticket {
  void* host = nullptr;  // pinned: a DeviceError, then the data from kTicketHead on
  size_t size = 0;       // room for data
  cudaEvent_t event = nullptr;
};
constexpr size_t kTicketHead = 64;

// Device to host. begin() by the worker; finish() by any thread.
class Downloads {
 public:
  Downloads(Device& device, DeviceError* error) : device_(device), error_(error) {}
  ~Downloads();
  Downloads(const Downloads&) = delete;
  Downloads& operator=(const Downloads&) = delete;

  Ticket* begin(const void* src, size_t bytes, Status& status);
  Status finish(Ticket* ticket, void* dst, size_t bytes);
  Status run(void* dst, const void* src, size_t bytes);

 private:
  static constexpr size_t kPart = size_t{4} << 20;
  static constexpr size_t kKeep = size_t{64} << 20;  // pinned bytes that wait for the next copy
  Ticket* take(size_t bytes, Status& status);
  void give(Ticket* ticket);
  static void free(Ticket* ticket);

  Device& device_;
  DeviceError* const error_;
  std::mutex mutex_;  // guards what follows
  std::vector<Ticket*> free_;
  size_t kept_ = 0;
};

// The message of an error that a kernel raised.
Status describeError(const DeviceError& error);

}  // namespace ns::cuda

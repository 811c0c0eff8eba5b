// Runs the threads of a block as fibers, one at a time; a thread runs until it waits for others or ends.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/emulation/fiber.h"
#include "cuda/emulation/qualifiers.h"

namespace ns::emulation {

constexpr int kLanes = 32;

enum class Wait : uint8_t {
  syncthreads,
  syncthreadsOr,
  syncthreadsAnd,
  syncthreadsCount,
  syncwarp,
  shuffle,
  shuffleUp,
  shuffleDown,
  shuffleXor,
  ballot,
  any,
  all,
  match,
  reduce,
  loadMatrix,
  loadMatrixTransposed,
  multiplyF16,
  multiplyBf16,
  multiplyTf32,
  groupFence,
  groupMultiply,
  groupCommit,
  groupWait
};
const char* nameOf(Wait wait);

// 4 or 16 bytes on their way to shared memory; they arrive when the thread waits for their group.
struct AsyncCopy {
  void* to;
  const void* from;
  int bytes;
  bool valid;
  int group;
};

struct Warp;

struct Lane {
  uint3 thread{};
  unsigned bit = 0;  // in its warp
  int lane = 0;
  Warp* warp = nullptr;
  Fiber* fiber = nullptr;  // none: not begun, or ended
  Wait wait = Wait::syncthreads;
  unsigned mask = 0;    // of the collective it waits at
  void* arg = nullptr;  // what it brings to the collective and takes away
  int group = 0;        // asynchronous copies: the group being filled
  std::vector<AsyncCopy> copies;
  uint64_t proxyFence = 0;  // when it last ordered its writes before what the tensor cores read
};

struct Warp {
  Lane* lanes = nullptr;
  unsigned exists = 0;
  unsigned done = 0;
  unsigned arrived = 0;  // at a collective of the warp
  unsigned ready = 0;    // by place in the order, not by lane
  int place = 0;
};

// Called by the last lane to arrive: reads and writes the args of all lanes in the mask.
using Finish = void (*)(Lane* lanes, unsigned mask);

extern Lane* now;  // the running thread

int blockBarrier(Wait kind, int predicate);
void warpCollective(Wait kind, unsigned mask, void* arg, Finish finish);
// The same for four whole warps, the first a multiple of four; `lanes` has 128.
void warpgroupCollective(Wait kind, void* arg, Finish finish);
// Number of the warp in its block.
int warpIndex(const Lane* lane);
// Ends the kernel with cudaErrorLaunchFailure and this text.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
void* dynamicShared();
bool isShared(const void* p, size_t bytes);
// Dynamic shared memory as a window of 32-bit addresses, which begins at a multiple of 128 that is none of 1024. Null: not in it.
unsigned sharedOffset(const void* p);
unsigned char* atShared(unsigned address, size_t bytes);

struct Grid {
  dim3 grid, block;
  size_t shared = 0;
  void (*call)(const void* closure) = nullptr;  // one thread of the kernel
  const void* closure = nullptr;
};
// Runs all blocks. An empty text: all went well.
std::string runGrid(const Grid& grid);

// The order in which threads take turns; NEXTSCALE_EMULATION_ORDER: ascending, descending or shuffled:<seed>.
enum class Order { ascending, descending, shuffled };
void setOrder(Order order, uint64_t seed = 0);

}  // namespace ns::emulation

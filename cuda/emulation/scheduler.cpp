#include "cuda/emulation/scheduler.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>

#include "cuda/emulation/device.h"
#include "cuda/emulation/dynamic_shared.h"
#include "cuda/emulation/static_shared.h"
#include "cuda/emulation/trap.h"
#include "cuda/emulation/warpgroup.h"

uint3 threadIdx{}, blockIdx{};
dim3 blockDim, gridDim;

namespace ns::emulation {

Lane* now = nullptr;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 512 * 1024;
#else
constexpr size_t kStack = 128 * 1024;
#endif
constexpr int kGroupWarps = 4;

// The state of the one block that runs. Launches take turns: `turn` is held for a whole grid.
struct Machine {
  std::mutex turn;
  Order order = Order::ascending;
  uint64_t seed = 0;
  Fiber main;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;  // each waits in runner() for a thread to run
  std::vector<Lane> lanes;
  std::vector<Warp> warps;
  int laneAt[kLanes];  // place in the order to lane, and back
  int placeOf[kLanes];
  int warpAt[kLanes];
  unsigned readyWarps = 0;  // by place
  Warp* current = nullptr;
  int threads = 0, done = 0, arrived = 0;
  Wait kind = Wait::syncthreads;
  int count = 0, result = 0;
  std::vector<int> groupArrived;  // by warpgroup
  const Grid* grid = nullptr;
  std::string failure;
};

Machine& machine() {
  static Machine* one = [] {
    auto* m = new Machine;
    const char* text = getenv("NEXTSCALE_EMULATION_ORDER");
    if (text && strcmp(text, "descending") == 0) m->order = Order::descending;
    if (text && strncmp(text, "shuffled", 8) == 0) {
      m->order = Order::shuffled;
      m->seed = text[8] == ':' ? strtoull(text + 9, nullptr, 10) : 1;
    }
    return m;
  }();
  return *one;
}
Machine& m = machine();

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

void orderOf(int* at, int n, uint64_t salt) {
  for (int i = 0; i < n; i++) at[i] = m.order == Order::descending ? n - 1 - i : i;
  if (m.order != Order::shuffled) return;
  for (int i = n - 1; i > 0; i--) std::swap(at[i], at[mix(m.seed * 1315423911u + salt * 64 + static_cast<uint64_t>(i)) % (i + 1)]);
}

unsigned placesOf(unsigned mask) {
  if (m.order == Order::ascending || mask == ~0u) return mask;
  unsigned places = 0;
  for (unsigned rest = mask; rest; rest &= rest - 1) places |= 1u << m.placeOf[__builtin_ctz(rest)];
  return places;
}

inline void makeReady(Warp& warp, unsigned mask) {
  warp.ready |= placesOf(mask);
  m.readyWarps |= 1u << warp.place;
}

// The next thread in the order, of the same warp while it has one. None: all have ended, or all that have not wait for ever.
inline Lane* pick() {
  Warp* w = m.current;
  if (!w->ready) {
    m.readyWarps &= ~(1u << w->place);
    if (!m.readyWarps) return nullptr;
    w = m.current = &m.warps[static_cast<size_t>(m.warpAt[__builtin_ctz(m.readyWarps)])];
  }
  const int place = __builtin_ctz(w->ready);
  w->ready &= w->ready - 1;
  return w->lanes + m.laneAt[place];
}

inline void become(Lane* lane) {
  now = lane;
  threadIdx = lane->thread;
}

void runner();

Fiber* idleFiber() {
  if (m.idle.empty()) {
    auto fiber = std::make_unique<Fiber>();
    const int index = static_cast<int>(m.fibers.size());
    if (!makeFiber(*fiber, kStack, index)) return nullptr;
    prepareFiber(*fiber, runner, index);
    m.idle.push_back(fiber.get());
    m.fibers.push_back(std::move(fiber));
  }
  Fiber* fiber = m.idle.back();
  m.idle.pop_back();
  return fiber;
}

std::string text(const char* format, va_list args) {
  char buffer[400];
  vsnprintf(buffer, sizeof(buffer), format, args);
  return buffer;
}

std::string where(const Lane& lane) {
  char buffer[80];
  snprintf(buffer, sizeof(buffer), "thread (%u,%u,%u)", lane.thread.x, lane.thread.y, lane.thread.z);
  return buffer;
}

std::string stuck() {
  std::string waiting, ended;
  for (const Warp& warp : m.warps)
    for (int i = 0; i < kLanes; i++) {
      const Lane& lane = warp.lanes[i];
      if (!(warp.exists & lane.bit)) continue;
      if (warp.done & lane.bit) {
        if (ended.empty()) ended = where(lane) + " has ended";
      } else if (waiting.find(nameOf(lane.wait)) == std::string::npos) {
        waiting += (waiting.empty() ? "" : ", ") + where(lane) + " waits at " + nameOf(lane.wait);
      }
    }
  return "divergence: " + waiting + (ended.empty() || waiting.empty() ? "" : ", ") + ended;
}

void leave(const std::string& why) {
  char block[80];
  snprintf(block, sizeof(block), "block (%u,%u,%u): ", blockIdx.x, blockIdx.y, blockIdx.z);
  m.failure = block + why;
}

Fiber& fiberOfNow() { return now && now->fiber ? *now->fiber : m.main; }

// Another thread runs until this one is ready again.
inline void suspend() {
  Lane* self = now;
  Lane* next = pick();
  if (next == self) return;
  if (!next) {
    leave(stuck());
    switchFiber(*self->fiber, m.main);
    return;
  }
  if (!next->fiber && !(next->fiber = idleFiber())) fail("no memory for another stack");
  become(next);
  switchFiber(*self->fiber, *next->fiber);
}

// A fiber without a thread of its own runs threads that have not begun, one after another, until one of them waits and keeps it.
void runner() {
  enteredFiber();
  for (;;) {
    Lane* self = now;
    m.grid->call(m.grid->closure);
    Fiber* fiber = self->fiber;
    self->fiber = nullptr;
    self->warp->done |= self->bit;
    self->copies.clear();
    self->group = 0;
    m.done++;
    Lane* next = pick();
    if (next && !next->fiber) {
      next->fiber = fiber;
      become(next);
      continue;
    }
    m.idle.push_back(fiber);
    if (!next) {
      if (m.done != m.threads) leave(stuck());
      switchFiber(*fiber, m.main);
    } else {
      become(next);
      switchFiber(*fiber, *next->fiber);
    }
  }
}

void setUp(const Grid& grid) {
  const dim3 b = grid.block;
  m.threads = static_cast<int>(b.x * b.y * b.z);
  const auto warps = static_cast<size_t>((m.threads + kLanes - 1) / kLanes);
  if (m.lanes.size() < warps * kLanes) m.lanes.resize(warps * kLanes);
  m.warps.assign(warps, Warp());
  m.groupArrived.assign((warps + kGroupWarps - 1) / kGroupWarps, 0);
  for (size_t i = 0; i < warps * kLanes; i++) {
    Lane& lane = m.lanes[i];
    Warp& warp = m.warps[i / kLanes];
    const auto t = static_cast<unsigned>(i);
    lane.thread = {t % b.x, t / b.x % b.y, t / (b.x * b.y)};
    lane.lane = static_cast<int>(i % kLanes);
    lane.bit = 1u << lane.lane;
    lane.warp = &warp;
    if (lane.lane == 0) warp.lanes = &lane;
    if (static_cast<int>(i) < m.threads) warp.exists |= lane.bit;
  }
  resizeDynamicShared(grid.shared);
  m.grid = &grid;
  m.failure.clear();
}

void fillOrder(uint64_t block) {
  const int warps = static_cast<int>(m.warps.size());
  orderOf(m.laneAt, kLanes, block * 2);
  orderOf(m.warpAt, warps, block * 2 + 1);
  for (int i = 0; i < kLanes; i++) m.placeOf[m.laneAt[i]] = i;
  for (int i = 0; i < warps; i++) m.warps[static_cast<size_t>(m.warpAt[i])].place = i;
}

void runBlock() {
  m.readyWarps = 0;
  m.done = m.arrived = 0;
  for (Warp& warp : m.warps) {
    warp.done = warp.arrived = warp.ready = 0;
    makeReady(warp, warp.exists);
  }
  fillDynamicShared();
  m.current = &m.warps[static_cast<size_t>(m.warpAt[0])];
  Lane* first = pick();
  first->fiber = idleFiber();
  if (!first->fiber) return leave("no memory for a stack");
  become(first);
  switchFiber(m.main, *first->fiber);
  now = nullptr;
  const char* left = dropProducts();
  if (left && m.failure.empty()) leave(left);
  if (!m.failure.empty()) return;
  const std::string outside = writtenOutside();
  if (!outside.empty()) leave(outside);
}

// After a failure the threads that waited are dropped as they are: their stacks begin anew.
void dropThreads() {
  m.idle.clear();
  for (size_t i = 0; i < m.fibers.size(); i++) {
    prepareFiber(*m.fibers[i], runner, static_cast<int>(i));
    m.idle.push_back(m.fibers[i].get());
  }
  for (Lane& lane : m.lanes) {
    lane.fiber = nullptr;
    lane.copies.clear();
    lane.group = 0;
  }
}

}  // namespace

void fail(const char* format, ...) {
  va_list args;
  va_start(args, format);
  leave((now ? where(*now) + ": " : "") + text(format, args));
  va_end(args);
  switchFiber(fiberOfNow(), m.main);
  __builtin_unreachable();
}

int blockBarrier(Wait kind, int predicate) {
  Lane* self = now;
  if (m.arrived == 0) {
    m.kind = kind;
    m.count = 0;
  } else if (m.kind != kind) {
    fail("waits at %s while others wait at %s", nameOf(kind), nameOf(m.kind));
  }
  self->wait = kind;
  m.count += predicate != 0;
  if (++m.arrived == m.threads) {
    m.arrived = 0;
    m.result = kind == Wait::syncthreadsOr ? m.count != 0 : kind == Wait::syncthreadsAnd ? m.count == m.threads : m.count;
    for (Warp& warp : m.warps) makeReady(warp, warp.exists);
    m.current = &m.warps[static_cast<size_t>(m.warpAt[0])];
  }
  suspend();
  return m.result;
}

void warpCollective(Wait kind, unsigned mask, void* arg, Finish finish) {
  Lane* self = now;
  Warp& warp = *self->warp;
  if (!(mask & self->bit)) fail("%s with the mask %08x, which lacks the calling lane %d", nameOf(kind), mask, self->lane);
  self->wait = kind;
  self->mask = mask;
  self->arg = arg;
  warp.arrived |= self->bit;
  if ((warp.arrived & mask) == mask) {
    for (unsigned rest = mask; rest; rest &= rest - 1) {
      const Lane& lane = warp.lanes[__builtin_ctz(rest)];
      if (lane.wait != kind || lane.mask != mask)
        fail("%s with mask %08x meets %s with mask %08x of lane %d", nameOf(kind), mask, nameOf(lane.wait), lane.mask, lane.lane);
    }
    if (finish) finish(warp.lanes, mask);
    warp.arrived &= ~mask;
    makeReady(warp, mask);
  }
  suspend();
}

void warpgroupCollective(Wait kind, void* arg, Finish finish) {
  Lane* self = now;
  const auto first = static_cast<size_t>(warpIndex(self) / kGroupWarps * kGroupWarps);
  if (first + kGroupWarps > m.warps.size() || m.warps[first + kGroupWarps - 1].exists != ~0u)
    fail("%s in a warpgroup that is not whole", nameOf(kind));
  self->wait = kind;
  self->arg = arg;
  int& arrived = m.groupArrived[first / kGroupWarps];
  if (++arrived == kGroupWarps * kLanes) {
    arrived = 0;
    finish(m.warps[first].lanes, ~0u);
    for (size_t i = first; i < first + kGroupWarps; i++) makeReady(m.warps[i], m.warps[i].exists);
  }
  suspend();
}

int warpIndex(const Lane* lane) { return static_cast<int>(lane->warp - m.warps.data()); }

void setOrder(Order order, uint64_t seed) {
  const std::lock_guard<std::mutex> turn(m.turn);
  m.order = order;
  m.seed = seed;
}

std::string runGrid(const Grid& grid) {
  const std::lock_guard<std::mutex> turn(m.turn);
  setUp(grid);
  const Trap trap;
  fillStaticShared();
  blockDim = grid.block;
  gridDim = grid.grid;
  const uint64_t blocks = static_cast<uint64_t>(grid.grid.x) * grid.grid.y * grid.grid.z;
  const uint64_t first = m.order == Order::shuffled ? mix(m.seed) % blocks : 0;
  fillOrder(0);
  for (uint64_t i = 0; i < blocks && m.failure.empty(); i++) {
    const uint64_t b = m.order == Order::descending ? blocks - 1 - i : (i + first) % blocks;
    blockIdx = {static_cast<unsigned>(b % grid.grid.x), static_cast<unsigned>(b / grid.grid.x % grid.grid.y),
                static_cast<unsigned>(b / grid.grid.x / grid.grid.y)};
    if (m.order == Order::shuffled && i > 0) fillOrder(b);
    runBlock();
  }
  if (!m.failure.empty()) dropThreads();
  return m.failure;
}

}  // namespace ns::emulation

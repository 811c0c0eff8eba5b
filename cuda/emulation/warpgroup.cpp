#include "cuda/emulation/warpgroup.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>

#include "cuda/emulation/half_bits.h"

namespace ns::emulation {

namespace {

constexpr int kWarps = 4, kRows = 16, kSide = 64, kDepth = 16, kSums = 32;
constexpr unsigned kPoison = 0xffffffffu;

struct Operands {
  unsigned short left[kRows][kDepth];
  unsigned short right[kDepth][kSide];
};

// A product as one warp has started it.
struct Started {
  GroupProduct lanes[kLanes];
  Operands seen;
  int group;
};

struct Sums {
  float v[kSums];
  int group;  // of the last product that adds to them
};

struct WarpState {
  bool fenced = false;  // since the last wait
  int group = 0;
  std::vector<Started> products;
  std::map<float*, Sums> sums;
};
std::map<int, WarpState> states;

// Writes of shared memory, by chunks of 16 bytes; times of one clock.
struct Write {
  uint64_t at = 0;
  const Lane* by = nullptr;
};
uint64_t clock = 0, blockBegan = 0;
std::vector<Write> writes;

// Address of an element `offset` bytes into the unswizzled matrix.
const unsigned char* follow(uint64_t descriptor, unsigned offset) {
  const unsigned at = static_cast<unsigned>(descriptor & 0x3fffu) * 16 + offset;
  const unsigned swizzled = at ^ ((at >> 7 & 7u) << 4);
  const unsigned char* p = atShared(swizzled, 2);
  if (!p) fail("a product reads shared address %u, outside of dynamic shared memory", swizzled);
  const auto chunk = static_cast<size_t>(p - static_cast<unsigned char*>(dynamicShared())) / 16;
  if (chunk < writes.size() && writes[chunk].at > blockBegan && writes[chunk].by->proxyFence < writes[chunk].at)
    fail("a product reads what an asynchronous copy wrote without fence.proxy.async");
  return p;
}

unsigned strideOf(uint64_t descriptor) { return static_cast<unsigned>(descriptor >> 32 & 0x3fffu) * 16; }

unsigned short elementAt(const unsigned char* p) {
  unsigned short v;
  memcpy(&v, p, sizeof(v));
  return v;
}

void checkDescriptor(uint64_t d) {
  if (d >> 62 != 1) fail("a matrix descriptor with swizzling mode %u: 1 alone is known here", static_cast<unsigned>(d >> 62));
  if ((d >> 49 & 7) != 0) fail("a matrix descriptor with a base offset");
  if ((d & 0xc000c000c000ull) != 0 || (d >> 52 & 0x3ff) != 0 || (d >> 46 & 7) != 0) fail("a matrix descriptor with reserved bits");
}

// K-major: rows of 128 bytes, eight of them an atom, atoms a stride apart. MN-major: the same with k as the row.
void readOperands(Operands& o, const Started& s, int warp) {
  const GroupProduct& p = s.lanes[0];
  checkDescriptor(p.right);
  for (int k = 0; k < kDepth; k++) {
    for (int n = 0; n < kSide; n++) {
      const unsigned row = static_cast<unsigned>(p.a ? k : n), column = static_cast<unsigned>(p.a ? n : k);
      o.right[k][n] = elementAt(follow(p.right, row / 8 * strideOf(p.right) + row % 8 * 128 + column * 2));
    }
  }
  if (!p.a) {
    checkDescriptor(p.left);
    for (int i = 0; i < kRows; i++) {
      const auto row = static_cast<unsigned>(warp % kWarps * kRows + i);
      for (int k = 0; k < kDepth; k++)
        o.left[i][k] = elementAt(follow(p.left, row / 8 * strideOf(p.left) + row % 8 * 128 + static_cast<unsigned>(k) * 2));
    }
    return;
  }
  for (int lane = 0; lane < kLanes; lane++) {
    for (int r = 0; r < 4; r++) {
      const int row = lane / 4 + r % 2 * 8, k = lane % 4 * 2 + r / 2 * 8;
      o.left[row][k] = static_cast<unsigned short>(s.lanes[lane].a[r]);
      o.left[row][k + 1] = static_cast<unsigned short>(s.lanes[lane].a[r] >> 16);
    }
  }
}

bool poisoned(const float* c) {
  for (int i = 0; i < kSums; i++) {
    if (bits<unsigned>(c[i]) != kPoison) return false;
  }
  return true;
}

// By the last lane of a warp to arrive.
void start(Lane* lanes, unsigned) {
  const int warp = warpIndex(lanes);
  WarpState& state = states[warp];
  if (!state.fenced) fail("a product of a warpgroup without wgmma.fence since the last wait");
  Started s;
  s.group = state.group;
  for (int i = 0; i < kLanes; i++) s.lanes[i] = *static_cast<const GroupProduct*>(lanes[i].arg);
  readOperands(s.seen, s, warp);
  for (int i = 0; i < kLanes; i++) {
    const GroupProduct &p = s.lanes[i], &first = s.lanes[0];
    if (p.left != first.left || p.right != first.right || p.add != first.add) fail("lanes of a warp start different products");
    const auto [at, fresh] = state.sums.try_emplace(p.c);
    if (fresh) memcpy(at->second.v, p.c, sizeof(at->second.v));
    if (!fresh && !poisoned(p.c)) fail("accumulators were written while a product was under way");
    if (!p.add && !fresh) fail("accumulators of a product that is under way are cleared");
    if (!p.add) memset(at->second.v, 0, sizeof(at->second.v));
    at->second.group = s.group;
    memset(p.c, 0xff, kSums * sizeof(float));
  }
  state.products.push_back(s);
}

float valueOf(unsigned short v, bool f16) { return f16 ? halfValue(v) : bfloatValue(v); }

void multiply(WarpState& state, const Started& s) {
  static float right[kDepth][kSide], sum[kRows][kSide];
  const bool f16 = s.lanes[0].f16;
  for (int k = 0; k < kDepth; k++)
    for (int n = 0; n < kSide; n++) right[k][n] = valueOf(s.seen.right[k][n], f16);
  memset(sum, 0, sizeof(sum));
  for (int i = 0; i < kRows; i++) {
    for (int k = 0; k < kDepth; k++) {
      const float x = valueOf(s.seen.left[i][k], f16);
      for (int n = 0; n < kSide; n++) sum[i][n] += x * right[k][n];
    }
  }
  for (int lane = 0; lane < kLanes; lane++) {
    float* v = state.sums[s.lanes[lane].c].v;
    for (int i = 0; i < kSums; i++) v[i] += sum[lane / 4 + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2];
  }
}

// Of one warp, all groups before `end`.
void complete(WarpState& state, int warp, int end) {
  size_t n = 0;
  for (; n < state.products.size() && state.products[n].group < end; n++) {
    const Started& s = state.products[n];
    Operands again;
    readOperands(again, s, warp);
    if (memcmp(&again, &s.seen, sizeof(again)) != 0) fail("an operand of a product changed while it was under way");
    multiply(state, s);
  }
  state.products.erase(state.products.begin(), state.products.begin() + static_cast<std::ptrdiff_t>(n));
  for (auto at = state.sums.begin(); at != state.sums.end();) {
    if (at->second.group >= end) {
      ++at;
      continue;
    }
    if (!poisoned(at->first)) fail("accumulators were written while a product was under way");
    memcpy(at->first, at->second.v, sizeof(at->second.v));
    at = state.sums.erase(at);
  }
  state.fenced = false;
}

bool sameProduct(const GroupProduct& a, const GroupProduct& b) {
  return a.left == b.left && a.right == b.right && a.add == b.add && !a.a == !b.a && a.f16 == b.f16;
}

void finishWait(Lane* lanes, unsigned) {
  const int first = warpIndex(lanes), left = *static_cast<const int*>(lanes[0].arg);
  for (int i = 0; i < kWarps * kLanes; i++) {
    if (*static_cast<const int*>(lanes[i].arg) != left) fail("warps of a group wait for different products");
  }
  const WarpState& one = states[first];
  for (int w = first + 1; w < first + kWarps; w++) {
    const WarpState& other = states[w];
    bool same = one.group == other.group && one.products.size() == other.products.size();
    for (size_t i = 0; same && i < one.products.size(); i++) same = sameProduct(one.products[i].lanes[0], other.products[i].lanes[0]);
    if (!same) fail("warps of a group have started different products");
  }
  for (int w = first; w < first + kWarps; w++) complete(states[w], w, one.group - left);
}

}  // namespace

void groupFence() {
  warpCollective(Wait::groupFence, ~0u, nullptr, [](Lane* lanes, unsigned) { states[warpIndex(lanes)].fenced = true; });
}

void groupMultiply(const GroupProduct& product) {
  GroupProduct p = product;
  warpCollective(Wait::groupMultiply, ~0u, &p, start);
}

void groupCommit() {
  warpCollective(Wait::groupCommit, ~0u, nullptr, [](Lane* lanes, unsigned) { states[warpIndex(lanes)].group++; });
}

void groupWait(int left) { warpgroupCollective(Wait::groupWait, &left, finishWait); }

void writtenByThread(const void* p, const Lane* lane) {
  const auto at = static_cast<const unsigned char*>(p) - static_cast<const unsigned char*>(dynamicShared());
  if (at < 0 || at >= 256 * 1024) return;
  const auto chunk = static_cast<size_t>(at) / 16;
  if (chunk >= writes.size()) writes.resize(256 * 1024 / 16);
  writes[chunk] = {++clock, lane};
}

void fenceProxy() { now->proxyFence = ++clock; }

const char* dropProducts() {
  const bool left = std::any_of(states.begin(), states.end(), [](const auto& s) { return !s.second.products.empty(); });
  states.clear();
  blockBegan = clock;
  return left ? "a product of a warpgroup that nobody waited for" : nullptr;
}

}  // namespace ns::emulation

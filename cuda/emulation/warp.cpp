// What the last lane to arrive does for the whole warp, and the names of what threads wait at.
#include "cuda/emulation/device_math.h"

namespace ns::emulation {

namespace {

template <class F>
inline void forLanes(unsigned mask, F f) {
  for (unsigned rest = mask; rest; rest &= rest - 1) f(__builtin_ctz(rest));
}

// A lane that is not in the mask has no value to give: the result is a poison.
void finishShuffle(Lane* lanes, unsigned mask) {
  forLanes(mask, [&](int i) {
    auto& e = *static_cast<Exchange*>(lanes[i].arg);
    const bool has = e.from >= 0 && e.from < kLanes && (mask >> e.from & 1u);
    e.out = has ? static_cast<const Exchange*>(lanes[e.from].arg)->in : ~uint64_t{0};
  });
}

void finishVote(Lane* lanes, unsigned mask) {
  unsigned bits = 0;
  forLanes(mask, [&](int i) { bits |= static_cast<const Vote*>(lanes[i].arg)->in ? 1u << i : 0u; });
  forLanes(mask, [&](int i) { static_cast<Vote*>(lanes[i].arg)->out = bits; });
}

void finishMatch(Lane* lanes, unsigned mask) {
  forLanes(mask, [&](int i) {
    auto& v = *static_cast<Vote*>(lanes[i].arg);
    v.out = 0;
    forLanes(mask, [&](int j) { v.out |= static_cast<const Vote*>(lanes[j].arg)->in == v.in ? 1u << j : 0u; });
  });
}

unsigned combine(const Reduce& r, unsigned a, unsigned b) {
  const auto x = static_cast<int>(a), y = static_cast<int>(b);
  switch (r.how) {
    case Reduction::add: return a + b;
    case Reduction::min: return r.isSigned ? (x < y ? a : b) : (a < b ? a : b);
    case Reduction::max: return r.isSigned ? (x > y ? a : b) : (a > b ? a : b);
    case Reduction::bitAnd: return a & b;
    case Reduction::bitOr: return a | b;
    case Reduction::bitXor: return a ^ b;
  }
  return 0;
}

void finishReduce(Lane* lanes, unsigned mask) {
  bool first = true;
  unsigned all = 0;
  forLanes(mask, [&](int i) {
    const auto& r = *static_cast<const Reduce*>(lanes[i].arg);
    all = first ? r.in : combine(r, all, r.in);
    first = false;
  });
  forLanes(mask, [&](int i) { static_cast<Reduce*>(lanes[i].arg)->out = all; });
}

}  // namespace

void shuffle(Wait kind, unsigned mask, Exchange& e) { warpCollective(kind, mask, &e, finishShuffle); }

void vote(Wait kind, unsigned mask, Vote& v) { warpCollective(kind, mask, &v, kind == Wait::match ? finishMatch : finishVote); }

unsigned reduceSync(unsigned mask, unsigned v, Reduction how, bool isSigned) {
  Reduce r{v, 0, how, isSigned};
  warpCollective(Wait::reduce, mask, &r, finishReduce);
  return r.out;
}

const char* nameOf(Wait wait) {
  switch (wait) {
    case Wait::syncthreads: return "__syncthreads";
    case Wait::syncthreadsOr: return "__syncthreads_or";
    case Wait::syncthreadsAnd: return "__syncthreads_and";
    case Wait::syncthreadsCount: return "__syncthreads_count";
    case Wait::syncwarp: return "__syncwarp";
    case Wait::shuffle: return "__shfl_sync";
    case Wait::shuffleUp: return "__shfl_up_sync";
    case Wait::shuffleDown: return "__shfl_down_sync";
    case Wait::shuffleXor: return "__shfl_xor_sync";
    case Wait::ballot: return "__ballot_sync";
    case Wait::any: return "__any_sync";
    case Wait::all: return "__all_sync";
    case Wait::match: return "__match_any_sync";
    case Wait::reduce: return "__reduce_*_sync";
    case Wait::loadMatrix: return "loadMatrix4";
    case Wait::loadMatrixTransposed: return "loadMatrix4Transposed";
    case Wait::multiplyF16: return "multiply<f16>";
    case Wait::multiplyBf16: return "multiply<bf16>";
    case Wait::multiplyTf32: return "multiplyTf32";
    case Wait::groupFence: return "groupFence";
    case Wait::groupMultiply: return "groupMultiply";
    case Wait::groupCommit: return "groupCommit";
    case Wait::groupWait: return "groupWait";
  }
  return "?";
}

}  // namespace ns::emulation

// Giles' approximation, then Newton steps in double.
double erfinv(double v) {
  if (!(v > -1 && v < 1)) return v == 1 ? INFINITY : v == -1 ? -INFINITY : NAN;
  const double w = -log((1 - v) * (1 + v));
  double y;
  if (w < 5) {
    const double t = w - 2.5;
    y = v * (1.50140941 + t * (0.246640727 + t * (-0.00417768164 + t * (-0.00125372503 + t * 0.00021858087))));
  } else {
    const double t = sqrt(w) - 3;
    y = v * (2.83297682 + t * (1.00167406 + t * (0.00943887047 + t * (-0.0076224613 + t * 0.00573950773))));
  }
  for (int i = 0; i < 3; i++) y -= (erf(y) - v) / (2 / sqrt(M_PI) * exp(-y * y));
  return y;
}

// One row of logits per block: guidance, top-k, top-p, softmax and the draw without leaving shared memory.
// Both cuts are the same search: the first entry, in ascending order of (value, index), at which the running mass passes a limit. Top-k
// weighs every entry 1; top-p weighs it exp(x - max) as a 40-bit fixed-point number. Masses are integers, so the order in which threads add
// does not matter and the same row gives the same token on any device. The search fixes eight bits of the order at a time (radix select):
// no sort, 4 passes over the row, more only among equal values.
#pragma once
#include <cmath>
#include <cstdint>

#include "cuda/common/reduce.h"
#include "native/abi/random.h"

namespace ns::cuda {

constexpr int kSampleThreads = 256;  // as many as there are values of a digit

// What the threads of a block share besides the row.
struct SampleShared {
  unsigned low[kSampleThreads], high[kSampleThreads];  // of the mass of every digit
  unsigned long long scan[kSampleThreads / kWarp];
  double sums[kSampleThreads / kWarp];
  unsigned long long below;  // mass before the chosen digit
  double total;
  int digit;
  int matches;
  int found;
};

struct SampleCut {
  uint32_t key;  // entries with a smaller key are removed,
  int index;     // and those with this key and a smaller index
};

// Ascending with the value; -inf comes first among what a row may hold, -0 and +0 are one.
__device__ inline uint32_t orderOf(float v) {
  const uint32_t bits = __float_as_uint(v + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline bool kept(float v, int i, SampleCut cut) {
  const uint32_t key = orderOf(v);
  return key > cut.key || (key == cut.key && i >= cut.index);
}

// Inclusive sums over the block in thread order.
template <class T>
__device__ inline T blockScan(T v, T* perWarp) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int step = 1; step < kWarp; step *= 2) {
    const T other = __shfl_up_sync(kAllLanes, v, static_cast<unsigned>(step));
    if (lane >= step) v += other;
  }
  if (lane == kWarp - 1) perWarp[warp] = v;
  __syncthreads();
  T before = 0;
  for (int i = 0; i < warp; i++) before += perWarp[i];
  __syncthreads();
  return before + v;
}

// Adds to the mass of a digit, which lies in two words: a sum of 64 bits in shared memory is a loop of compare-and-swap.
__device__ inline void addMass(SampleShared& s, unsigned digit, unsigned long long mass) {
  const auto low = static_cast<unsigned>(mass);
  const unsigned carry = atomicAdd(&s.low[digit], low) + low < low ? 1 : 0, high = static_cast<unsigned>(mass >> 32) + carry;
  if (high > 0) atomicAdd(&s.high[digit], high);
}

// Chooses the digit at which `s.below` plus the masses of the digits up to it pass the limit; the last one that occurs where none does.
__device__ inline void chooseDigit(SampleShared& s, unsigned long long limit) {
  const int t = static_cast<int>(threadIdx.x);
  const unsigned long long own = static_cast<unsigned long long>(s.high[t]) << 32 | s.low[t], base = s.below;
  const unsigned long long until = blockScan(own, s.scan) + base;
  if (t == 0) s.digit = -1;
  __syncthreads();
  if (own > 0 && until > limit && until - own <= limit) {
    s.digit = t;
    s.below = until - own;
  }
  __syncthreads();
  const bool chosen = s.digit >= 0;
  __syncthreads();
  if (!chosen) {
    if (own > 0) atomicMax(&s.digit, t);
    __syncthreads();
    if (t == s.digit) s.below = until - own;
  }
  __syncthreads();
}

// The entry at which the running mass of those that `from` keeps passes `limit`.
template <class Mass>
__device__ inline SampleCut passing(const float* row, int V, SampleCut from, Mass mass, unsigned long long limit, SampleShared& s) {
  const int t = static_cast<int>(threadIdx.x);
  int indexBits = 0;
  while ((1 << indexBits) < V) indexBits += 8;
  uint64_t prefix = 0;
  if (t == 0) s.below = 0;
  for (int shift = 24 + indexBits; shift >= 0; shift -= 8) {
    s.low[t] = s.high[t] = 0;
    if (t == 0) s.matches = 0;
    __syncthreads();
    int matches = 0;
    for (int i = t; i < V; i += kSampleThreads) {
      const float v = row[i];
      if (!kept(v, i, from)) continue;
      const uint64_t order = static_cast<uint64_t>(orderOf(v)) << indexBits | static_cast<uint64_t>(i);
      if (shift + 8 < 64 && order >> (shift + 8) != prefix) continue;
      addMass(s, static_cast<unsigned>(order >> shift & 255), mass(v));
      matches++;
    }
    atomicAdd(&s.matches, matches);
    __syncthreads();
    const int left = s.matches;
    chooseDigit(s, limit);
    prefix = prefix << 8 | static_cast<uint64_t>(s.digit);
    __syncthreads();
    // The index matters among equal values only.
    if (shift == indexBits && (left == 1 || indexBits == 0)) return {static_cast<uint32_t>(prefix), 0};
    if (shift < indexBits && left == 1) {
      for (int i = t; i < V; i += kSampleThreads) {
        const uint64_t order = static_cast<uint64_t>(orderOf(row[i])) << indexBits | static_cast<uint64_t>(i);
        if (kept(row[i], i, from) && order >> shift == prefix) s.found = i;
      }
      __syncthreads();
      const int found = s.found;
      __syncthreads();
      return {static_cast<uint32_t>(prefix >> (indexBits - shift)), found};
    }
  }
  return {static_cast<uint32_t>(prefix >> indexBits), static_cast<int>(prefix & ((uint64_t{1} << indexBits) - 1))};
}

struct RowFacts {
  float most;  // -inf where nothing is finite
  int finite;
  bool bad;  // NaN or +inf
};

__device__ inline RowFacts rowFacts(const float* row, int V) {
  float most = -INFINITY;
  int finite = 0, bad = 0;
  for (int i = static_cast<int>(threadIdx.x); i < V; i += kSampleThreads) {
    const float v = row[i];
    bad |= !(v < INFINITY);
    finite += v > -INFINITY && v < INFINITY;
    most = fmaxf(most, v);
  }
  return {blockMax(most), blockSum(finite), blockMax(bad) != 0};
}

struct WholeMass {
  __device__ unsigned long long operator()(float) const { return 1; }
};
struct SoftMass {
  float most;
  // What weighs anything weighs at least one unit: top-p of 1 removes nothing else.
  __device__ unsigned long long operator()(float v) const {
    const float w = expf(v - most);
    const auto units = static_cast<unsigned long long>(static_cast<double>(w) * 0x1p40 + 0.5);
    return units > 0 || !(w > 0) ? units : 1ull;
  }
};

// What top-k, then top-p leave of a row without NaN and +inf.
__device__ inline SampleCut truncation(const float* row, int V, int k, float p, RowFacts facts, SampleShared& s) {
  SampleCut cut = {0, 0};
  if (k > 0 && k < facts.finite) {
    // -inf is no candidate: the search starts behind it.
    const SampleCut finite = {orderOf(-INFINITY) + 1, 0};
    cut = passing(row, V, finite, WholeMass(), static_cast<unsigned long long>(facts.finite - k), s);
    cut.index = 0;  // every value equal to the k-th largest stays
  }
  if (!(p > 0) || facts.finite == 0) return cut;
  const SoftMass mass = {facts.most};
  unsigned long long total = 0;
  for (int i = static_cast<int>(threadIdx.x); i < V; i += kSampleThreads) {
    if (kept(row[i], i, cut) && row[i] > -INFINITY) total += mass(row[i]);
  }
  total = blockSum(total);
  const double limit = (1.0 - static_cast<double>(p)) * static_cast<double>(total);
  const SampleCut finite = {cut.key > orderOf(-INFINITY) ? cut.key : orderOf(-INFINITY) + 1, 0};
  return passing(row, V, finite, mass, limit > 0 ? static_cast<unsigned long long>(limit) : 0ull, s);
}

// The first index whose running sum of weight(i) in f64 passes u * total; -1 where the weights are no distribution. Threads take
// consecutive parts of the row, so that the sums have one order.
template <class Weight>
__device__ inline int drawRow(int V, Weight weight, double u, SampleShared& s) {
  const int t = static_cast<int>(threadIdx.x), part = (V + kSampleThreads - 1) / kSampleThreads;
  const int begin = min(t * part, V), end = min(begin + part, V);
  double own = 0;
  int negative = 0;
  for (int i = begin; i < end; i++) {
    const double w = weight(i);
    negative |= w < 0;
    own += w;
  }
  const double until = blockScan(own, s.sums);
  if (t == 0) s.found = V;
  if (t == kSampleThreads - 1) s.total = until;
  __syncthreads();
  const double total = s.total, target = u * total;
  if (blockMax(negative) || !(total > 0) || !(total < static_cast<double>(INFINITY))) return -1;
  int last = -1;
  double sum = until - own;
  // Only the part in which the target lies is walked; a neighbour's rounding is covered by the last entry that can be drawn.
  for (int i = begin; i < end && until > target; i++) {
    const double w = weight(i);
    sum += w;
    if (w > 0) last = i;
    if (sum > target && last == i) break;
  }
  if (last >= 0) atomicMin(&s.found, last);
  __syncthreads();
  if (s.found == V) {  // uniform: rounding at the very end of the row
    __syncthreads();
    if (t == 0) s.found = -1;
    __syncthreads();
    for (int i = end - 1; i >= begin; i--) {
      if (!(weight(i) > 0)) continue;
      atomicMax(&s.found, i);
      break;
    }
    __syncthreads();
  }
  const int found = s.found;
  __syncthreads();
  return found;
}

__device__ inline double uniformOf(const int32_t* seed, int64_t token, int32_t scale) {
  const Philox counter = {{static_cast<uint32_t>(token), static_cast<uint32_t>(scale), static_cast<uint32_t>(seed[2]), kPhiloxMultinomial}};
  return philoxUniform(philox(static_cast<uint32_t>(seed[0]), static_cast<uint32_t>(seed[1]), counter).w[0]);
}

}  // namespace ns::cuda

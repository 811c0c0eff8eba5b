// The shared memory accesses of the GEMM's tiles, counted on the host: no bank conflicts.
#include <algorithm>
#include <set>
#include <vector>

#include "cuda/kernels/gemm_tile.cuh"
#include "cuda/test/device_check.h"

using namespace ns;
using namespace ns::cuda;
using namespace ns::cuda::test;
using namespace ns::cuda::gemm;

namespace {

// Accesses of `bytes` each that the hardware serves together must fall into different banks, or on the same word.
bool freeOfConflicts(const std::vector<int>& offsets, int bytes) {
  const size_t together = static_cast<size_t>(128 / bytes);
  for (size_t first = 0; first < offsets.size(); first += together) {
    std::set<std::pair<int, int>> words;
    for (size_t i = first; i < std::min(first + together, offsets.size()); i++) {
      for (int b = 0; b < bytes; b += 4) words.insert({(offsets[i] + b) / 4 % 32, (offsets[i] + b) / 4});
    }
    int last = -1;
    for (const auto& w : words) {
      if (w.first == last) return false;
      last = w.first;
    }
  }
  return true;
}

template <int ROW>
void conflictsAlongK(const char* name) {
  bool copies = true, matrices = true, lines = true;
  constexpr int kPerLine = ROW / 16;
  for (int warp = 0; warp < 8; warp++) {
    std::vector<int> to;
    for (int lane = 0; lane < 32; lane++) to.push_back(alongK<ROW>((warp * 32 + lane) / kPerLine, lane % kPerLine));
    copies = copies && freeOfConflicts(to, 16);
  }
  for (int chunk = 0; chunk < kPerLine; chunk++) {
    for (int first = 0; first < 64; first += 8) {
      std::vector<int> rows;
      for (int i = 0; i < 8; i++) rows.push_back(first * ROW + alongK<ROW>(i, chunk));
      matrices = matrices && freeOfConflicts(rows, 16) && rows[3] == alongK<ROW>(first + 3, chunk);
    }
    for (int own = 0; own < 8; own++) {  // FMA: lanes (g, t) read lines own * 8 + g and own * 4 + t
      std::vector<int> a, b;
      for (int lane = 0; lane < 32; lane++) {
        a.push_back(alongK<ROW>(own * 8 + lane / 4, chunk));
        b.push_back(alongK<ROW>(own * 4 + lane % 4, chunk));
      }
      lines = lines && freeOfConflicts(a, 16) && freeOfConflicts(b, 16);
    }
  }
  check(copies, "copies along k", name);
  check(matrices, "ldmatrix along k", name);
  check(lines, "FMA operands along k", name);
}

template <class E, int COUNT>
void conflictsAcrossK(const char* name) {
  bool copies = true, reads = true;
  constexpr int kPerLine = COUNT * static_cast<int>(sizeof(E)) / 16, kLines = 64 / static_cast<int>(sizeof(E));
  std::set<int> distinct;
  for (int k = 0; k < kLines; k++) {
    std::vector<int> to;
    for (int c = 0; c < kPerLine; c++) {
      to.push_back(acrossK<E, COUNT>(k, c));
      distinct.insert(to.back());
    }
    copies = copies && freeOfConflicts(to, 16);
  }
  check(static_cast<int>(distinct.size()) == kLines * kPerLine && *distinct.rbegin() == (kLines * kPerLine - 1) * 16, "a permutation",
        name);
  if (sizeof(E) == 2) {
    for (int k = 0; k < kLines; k += 8) {
      for (int c = 0; c < kPerLine; c++) {
        std::vector<int> rows;
        for (int i = 0; i < 8; i++) rows.push_back(acrossK<E, COUNT>(k + i, c));
        reads = reads && freeOfConflicts(rows, 16);
      }
    }
  } else {
    for (int k = 0; k < kLines; k += 4) {
      for (int first = 0; first < COUNT; first += 8) {  // tf32: lane (g, t) reads column first + g of line k + t
        std::vector<int> words;
        for (int lane = 0; lane < 32; lane++) {
          const int at = first + lane / 4;
          words.push_back(acrossK<E, COUNT>(k + lane % 4, at / 4) + at % 4 * 4);
        }
        reads = reads && freeOfConflicts(words, 4);
      }
      for (int first = 0; first + 32 <= COUNT; first += 32) {  // FMA: eight lanes read eight chunks of a line, or four
        std::vector<int> a, b;
        for (int lane = 0; lane < 32; lane++) {
          a.push_back(acrossK<E, COUNT>(k, first / 4 + lane / 4));
          b.push_back(acrossK<E, COUNT>(k, first / 4 + lane % 4));
        }
        reads = reads && freeOfConflicts(a, 16) && freeOfConflicts(b, 16);
      }
    }
  }
  check(copies, "copies across k", name);
  check(reads, "reads across k", name);
}

template <int N>
void conflictsOfStore(const char* name) {
  bool ok = true;
  std::set<int> distinct;
  for (int row = 0; row < 16; row++) {
    for (int col = 0; col < N; col++) distinct.insert(stored<N>(row, col));
  }
  for (int j = 0; j < N; j += 8) {
    std::vector<int> pairs;
    for (int lane = 0; lane < 32; lane++) pairs.push_back(4 * stored<N>(lane / 4, j + lane % 4 * 2));
    ok = ok && freeOfConflicts(pairs, 8);
  }
  for (int first = 0; first < N; first += 32) {
    std::vector<int> quads;
    for (int i = 0; i < 8; i++) quads.push_back(4 * stored<N>(5, first + i * 4));
    ok = ok && freeOfConflicts(quads, 16);
  }
  check(ok && static_cast<int>(distinct.size()) == 16 * N, "store", name);
}

void conflicts() {
  check(!freeOfConflicts({0, 128}, 4) && freeOfConflicts({0, 0, 4}, 4) && !freeOfConflicts({0, 64, 128}, 16), "a conflict is seen");
  conflictsAlongK<64>("64-byte lines");
  conflictsAlongK<128>("128-byte lines");
  conflictsAcrossK<bf16, 64>("16 bit, 64");
  conflictsAcrossK<bf16, 128>("16 bit, 128");
  conflictsAcrossK<float, 64>("f32, 64");
  conflictsAcrossK<float, 128>("f32, 128");
  conflictsOfStore<32>("32");
  conflictsOfStore<64>("64");
  conflictsOfStore<128>("128");
}

}  // namespace

int main() {
  conflicts();
  return ns::test::finish();
}

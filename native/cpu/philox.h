// Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011; Random123) and who uses which counters.
//
// The key is a 64-bit seed (lo, hi). Counters, so that no two draws ever share one:
//   multinomial     (token, scale, imageIndex, 0)                     word 0 of the result
//   gumbel_softmax  (token, scale, imageIndex, 0x47000000 + v / 4)    word v % 4, for vocabulary entry v
//   random          (i / 4 low, i / 4 high, stream, 0x52)             word i % 4, for element i
// A word x stands for the number (x + 0.5) / 2^32 in (0, 1), computed in double.
#pragma once
#include <cstdint>

namespace ns::cpu {

constexpr uint32_t kPhiloxMultinomial = 0;
constexpr uint32_t kPhiloxGumbel = 0x47000000u;
constexpr uint32_t kPhiloxRandom = 0x52;

constexpr uint32_t kPhiloxM0 = 0xd2511f53u, kPhiloxM1 = 0xcd9e8d57u;
constexpr uint32_t kPhiloxW0 = 0x9e3779b9u, kPhiloxW1 = 0xbb67ae85u;

struct Philox {
  uint32_t w[4];
};

inline Philox philox(uint32_t key0, uint32_t key1, Philox c) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = static_cast<uint64_t>(kPhiloxM0) * c.w[0];
    const uint64_t b = static_cast<uint64_t>(kPhiloxM1) * c.w[2];
    c = {{static_cast<uint32_t>(b >> 32) ^ c.w[1] ^ key0, static_cast<uint32_t>(b), static_cast<uint32_t>(a >> 32) ^ c.w[3] ^ key1,
          static_cast<uint32_t>(a)}};
    key0 += kPhiloxW0;
    key1 += kPhiloxW1;
  }
  return c;
}

// Which word counts the blocks of four numbers, and what the others hold.
struct PhiloxStream {
  uint32_t key0, key1;
  bool wordThree;  // block in word 3 (added to w3); else in words 0 (low) and 1 (high)
  uint32_t w0, w1, w2, w3;
};

inline Philox philoxCounter(const PhiloxStream& s, uint64_t block) {
  if (s.wordThree) return {{s.w0, s.w1, s.w2, s.w3 + static_cast<uint32_t>(block)}};
  return {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), s.w2, s.w3}};
}

inline double philoxUniform(uint32_t x) { return (static_cast<double>(x) + 0.5) * 0x1p-32; }

}  // namespace ns::cpu

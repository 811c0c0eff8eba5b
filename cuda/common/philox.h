// Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011), with the counters of the CPU backend:
//   multinomial (token, scale, imageIndex, 0), gumbel_softmax (token, scale, imageIndex, 0x47000000 + v / 4), random (i / 4 low, high,
//   stream, 0x52).
// A word x stands for the number (x + 0.5) / 2^32 in (0, 1), computed in double.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace ns::cuda {

constexpr uint32_t kPhiloxMultinomial = 0;
constexpr uint32_t kPhiloxGumbel = 0x47000000u;
constexpr uint32_t kPhiloxRandom = 0x52;

struct Philox {
  uint32_t w[4];
};

__host__ __device__ inline Philox philox(uint32_t key0, uint32_t key1, Philox c) {
  for (int round = 0; round < 10; round++) {
    const uint64_t a = static_cast<uint64_t>(0xd2511f53u) * c.w[0];
    const uint64_t b = static_cast<uint64_t>(0xcd9e8d57u) * c.w[2];
    c = Philox{{static_cast<uint32_t>(b >> 32) ^ c.w[1] ^ key0, static_cast<uint32_t>(b), static_cast<uint32_t>(a >> 32) ^ c.w[3] ^ key1,
                static_cast<uint32_t>(a)}};
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return c;
}

__host__ __device__ inline double philoxUniform(uint32_t x) { return (static_cast<double>(x) + 0.5) * 0x1p-32; }

}  // namespace ns::cuda

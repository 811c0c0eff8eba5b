#include <cstring>

#include "cuda/emulation/half_bits.h"
#include "cuda/emulation/warp_products.h"
#include "cuda/emulation/warpgroup.h"

namespace ns::emulation {

namespace {

bool aligned(const void* p, size_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

struct MatrixLoad {
  unsigned* r;
  const void* row;
};

unsigned short element(const Lane* lanes, int matrix, int row, int column) {
  const auto* at = static_cast<const char*>(static_cast<const MatrixLoad*>(lanes[matrix * 8 + row].arg)->row);
  unsigned short v;
  memcpy(&v, at + column * 2, sizeof(v));
  return v;
}

template <bool transposed>
void finishLoad(Lane* lanes, unsigned) {
  for (int lane = 0; lane < kLanes; lane++) {
    const int g = lane / 4, t = lane % 4;
    for (int k = 0; k < 4; k++) {
      const unsigned lo = transposed ? element(lanes, k, 2 * t, g) : element(lanes, k, g, 2 * t);
      const unsigned hi = transposed ? element(lanes, k, 2 * t + 1, g) : element(lanes, k, g, 2 * t + 1);
      static_cast<MatrixLoad*>(lanes[lane].arg)->r[k] = lo | hi << 16;
    }
  }
}

struct Product {
  float* c;
  const unsigned* a;
  const unsigned* b;
};

template <Wait kind>
float part(unsigned v, int high) {
  const auto h = static_cast<unsigned short>(high ? v >> 16 : v & 0xffffu);
  return kind == Wait::multiplyF16 ? halfValue(h) : bfloatValue(h);
}

// a: 16 x K by rows, b: K x 8; the sum of the products is in f32 and added to c at the end.
template <int K>
void accumulate(Lane* lanes, const float (&a)[16][K], const float (&b)[K][8]) {
  float sum[16][8];
  for (int i = 0; i < 16; i++) {
    for (int j = 0; j < 8; j++) sum[i][j] = 0;
    for (int k = 0; k < K; k++)
      for (int j = 0; j < 8; j++) sum[i][j] += a[i][k] * b[k][j];
  }
  for (int lane = 0; lane < kLanes; lane++) {
    const int g = lane / 4, t = lane % 4;
    float* c = static_cast<const Product*>(lanes[lane].arg)->c;
    c[0] += sum[g][2 * t];
    c[1] += sum[g][2 * t + 1];
    c[2] += sum[g + 8][2 * t];
    c[3] += sum[g + 8][2 * t + 1];
  }
}

template <Wait kind>
void finishMultiply16(Lane* lanes, unsigned) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kLanes; lane++) {
    const int g = lane / 4, t = lane % 4;
    const auto& p = *static_cast<const Product*>(lanes[lane].arg);
    for (int h = 0; h < 2; h++) {
      const int k = 2 * t + h;
      a[g][k] = part<kind>(p.a[0], h);
      a[g + 8][k] = part<kind>(p.a[1], h);
      a[g][k + 8] = part<kind>(p.a[2], h);
      a[g + 8][k + 8] = part<kind>(p.a[3], h);
      b[k][g] = part<kind>(p.b[0], h);
      b[k + 8][g] = part<kind>(p.b[1], h);
    }
  }
  accumulate(lanes, a, b);
}

// The tensor core reads the upper 19 bits alone, whatever the operand's low bits are.
float tf32Value(unsigned v) { return bits<float>(v & 0xffffe000u); }

void finishMultiplyTf32(Lane* lanes, unsigned) {
  float a[16][8], b[8][8];
  for (int lane = 0; lane < kLanes; lane++) {
    const int g = lane / 4, t = lane % 4;
    const auto& p = *static_cast<const Product*>(lanes[lane].arg);
    a[g][t] = tf32Value(p.a[0]);
    a[g + 8][t] = tf32Value(p.a[1]);
    a[g][t + 4] = tf32Value(p.a[2]);
    a[g + 8][t + 4] = tf32Value(p.a[3]);
    b[t][g] = tf32Value(p.b[0]);
    b[t + 4][g] = tf32Value(p.b[1]);
  }
  accumulate(lanes, a, b);
}

void arrive(const AsyncCopy& copy) {
  if (copy.valid)
    memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  else
    memset(copy.to, 0, static_cast<size_t>(copy.bytes));
  writtenByThread(copy.to, now);
}

}  // namespace

// Until the copy is waited for its target holds neither the old nor the new value.
void beginCopy(void* to, const void* from, int bytes, bool valid) {
  const auto n = static_cast<size_t>(bytes);
  if (!isShared(to, n)) fail("an asynchronous copy whose target is not in shared memory");
  if (!aligned(to, n)) fail("an asynchronous copy of %d bytes to a shared address not aligned to them", bytes);
  if (valid && !aligned(from, n)) fail("an asynchronous copy of %d bytes from an address not aligned to them", bytes);
  memset(to, 0xff, n);
  now->copies.push_back({to, from, bytes, valid, now->group});
}

void commitCopies() { now->group++; }

void waitForCopies(int left) {
  auto& copies = now->copies;
  size_t n = 0;
  while (n < copies.size() && copies[n].group < now->group - left) arrive(copies[n++]);
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(n));
}

void loadMatrix(unsigned* r, const void* row, Wait kind) {
  if (!aligned(row, 16)) fail("%s reads a row not aligned to 16 bytes", nameOf(kind));
  if (!isShared(row, 16)) fail("%s reads a row outside of shared memory", nameOf(kind));
  MatrixLoad load{r, row};
  warpCollective(kind, ~0u, &load, kind == Wait::loadMatrix ? finishLoad<false> : finishLoad<true>);
}

void multiply(float* c, const unsigned* a, const unsigned* b, Wait kind) {
  Product p{c, a, b};
  warpCollective(kind, ~0u, &p,
                 kind == Wait::multiplyF16    ? finishMultiply16<Wait::multiplyF16>
                 : kind == Wait::multiplyBf16 ? finishMultiply16<Wait::multiplyBf16>
                                              : finishMultiplyTf32);
}

}  // namespace ns::emulation

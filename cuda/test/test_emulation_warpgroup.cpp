// Products of a warpgroup against plain loops, and what the emulation says of wrong ones.
#include "cuda/test/emulation_check.h"

namespace {

enum Fault {
  kNone,
  kNoProxyFence,
  kNoGroupFence,
  kNoWait,
  kTooEarly,
  kOperandChanges,
  kRegisterChanges,
  kSumChanges,
  kOutside,
  kUnaligned,
  kOtherProduct
};

// a: 64 x 64 in rows, b: rows of 64. From shared memory c = a b^T, from registers c = a b; both twice, the second time added.
template <class T, bool registers>
__global__ void product(const T* a, const T* b, float* c, int fault) {
  NS_SHARED(T, memory);
  T* const left =
      memory + (kSwizzleAtom - sharedAddress(memory) % kSwizzleAtom) % kSwizzleAtom / sizeof(T) + (fault == kUnaligned ? 64 : 0);
  T* const right = left + 64 * 64;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, own = thread / 32 * 16;
  for (int i = thread; i < 64 * 8; i += 128) {
    const int at = i / 8 * 64 + (i % 8 ^ (i / 8 % 8)) * 8;
    copyAsync16(left + at, a + i * 8, true);
    copyAsync16(right + at, b + i * 8, true);
  }
  copyCommit();
  if (fault != kTooEarly) copyWait<0>();
  if (fault != kNoProxyFence) fenceAsyncProxy();
  __syncthreads();
  unsigned p[4][4];
  for (int k = 0; k < 4; k++) {
    for (int r = 0; r < 4; r++) {
      const T* from = a + (own + lane / 4 + r % 2 * 8) * 64 + 16 * k + lane % 4 * 2 + r / 2 * 8;
      p[k][r] = pair<T>(toFloat(from[0]), toFloat(from[1]));
    }
  }
  float sum[8][4];
  unsigned x = matrixOf(sharedAddress(left)), y = matrixOf(sharedAddress(right));
  if (fault == kOutside) y = further(y, 1u << 16);
  if (fault == kOtherProduct && thread >= 96) y = further(y, 32);
  for (auto& v : sum) v[0] = v[1] = v[2] = v[3] = 0.0f;
  if (fault != kNoGroupFence) groupFence();
  for (int twice = 0; twice < 2; twice++) {
    for (unsigned k = 0; k < 4; k++) {
      if (registers)
        groupMultiply<T>(sum, p[k], further(y, 2048 * k));
      else
        groupMultiply<T>(sum, further(x, 32 * k), further(y, 32 * k), twice > 0 || k > 0);
    }
    groupCommit();
  }
  if (fault == kOperandChanges) memset(static_cast<void*>(right), 0, 16);
  if (fault == kRegisterChanges) p[0][0]++;
  if (fault == kSumChanges) sum[1][1] = 2.0f;
  if (fault == kNoWait)
    groupWait<1>();
  else
    groupWait<0>();
  holdRegisters(sum);
  for (int i = 0; i < 32; i++) c[(own + lane / 4 + i / 2 % 2 * 8) * 64 + i / 4 * 8 + lane % 4 * 2 + i % 2] = sum[i / 4][i % 4];
}

constexpr size_t kBytes = kSwizzleAtom + 2 * 64 * 64 * 2 + 128;

template <class T>
struct Data {
  T *a = device<T>(64 * 64), *b = device<T>(64 * 64);
  float* c = device<float>(64 * 64);
  // Small integers: exact in every format, so that a wrong place shows and rounding does not.
  Data() {
    for (int i = 0; i < 64 * 64; i++) {
      a[i] = fromFloat<T>(static_cast<float>((i * 7 + i / 64) % 23 - 11));
      b[i] = fromFloat<T>(static_cast<float>((i * 5 + i / 64 * 3) % 19 - 9));
    }
  }
  ~Data() { cudaFree(a), cudaFree(b), cudaFree(c); }
  template <bool registers>
  Status run(int fault = kNone) {
    return launch(context(), product<T, registers>, {dim3(2), dim3(128), kBytes}, a, b, c, fault);
  }
};

template <class T, bool registers>
void right(const char* what) {
  Data<T> d;
  const Status s = d.template run<registers>();
  int same = 0;
  for (int i = 0; i < 64; i++) {
    for (int j = 0; j < 64; j++) {
      float want = 0;
      for (int k = 0; k < 64; k++) want += toFloat(d.a[i * 64 + k]) * toFloat(registers ? d.b[k * 64 + j] : d.b[j * 64 + k]);
      same += d.c[i * 64 + j] == 2 * want;
    }
  }
  check(s.ok() && same == 64 * 64, what, s.message + std::to_string(same) + ns::emulation::lastFailure());
}

void wrong() {
  Data<bf16> d;
  const auto faulty = [&](int fault) { return [&d, fault] { return d.run<false>(fault); }; };
  const auto inRegisters = [&](int fault) { return [&d, fault] { return d.run<true>(fault); }; };
  refused("copies without a proxy fence", "fence.proxy.async", faulty(kNoProxyFence));
  refused("registers without a fence", "wgmma.fence", faulty(kNoGroupFence));
  refused("a product that ends with its kernel", "nobody waited for", faulty(kNoWait));
  refused("shared memory written under a product", "an operand of a product changed", faulty(kOperandChanges));
  refused("a register written under a product", "an operand of a product changed", inRegisters(kRegisterChanges));
  refused("accumulators written under a product", "accumulators were written", faulty(kSumChanges));
  refused("a matrix that leaves shared memory", "outside of dynamic shared memory", faulty(kOutside));
  refused("warps of different minds", "started different products", faulty(kOtherProduct));
  check(d.run<false>(kTooEarly).ok() && std::isnan(d.c[5]), "a product of copies that have not arrived is NaN");
  Data<bf16> whole;
  check(whole.run<false>().ok() && d.run<false>(kUnaligned).ok() && d.c[70] != whole.c[70], "a tile between two atoms is read otherwise");
}

}  // namespace

int main() {
  inEveryOrder([] {
    right<f16, false>("f16 from shared memory");
    right<bf16, false>("bf16 from shared memory");
    right<f16, true>("f16 from registers");
    right<bf16, true>("bf16 from registers");
    wrong();
  });
  return ns::test::finish();
}

// Tensor-core products and matrix loads against plain loops, and copies that arrive late.
#include "cuda/test/emulation_check.h"

namespace {

// One warp; each lane reads its fragments from plain matrices a (16 x K), b (K x 8), as the PTX manual lays them out.
template <class T>
__global__ void product16(const float* a, const float* b, float* c) {
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  const unsigned fa[4] = {pair<T>(a[g * 16 + 2 * t], a[g * 16 + 2 * t + 1]), pair<T>(a[(g + 8) * 16 + 2 * t], a[(g + 8) * 16 + 2 * t + 1]),
                          pair<T>(a[g * 16 + 2 * t + 8], a[g * 16 + 2 * t + 9]),
                          pair<T>(a[(g + 8) * 16 + 2 * t + 8], a[(g + 8) * 16 + 2 * t + 9])};
  const unsigned fb[2] = {pair<T>(b[2 * t * 8 + g], b[(2 * t + 1) * 8 + g]), pair<T>(b[(2 * t + 8) * 8 + g], b[(2 * t + 9) * 8 + g])};
  float fc[4] = {1, 2, 3, 4};
  multiply<T>(fc, fa, fb);
  for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i] - static_cast<float>(i + 1);
}

__global__ void productTf32(const float* a, const float* b, float* c) {
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  const unsigned fa[4] = {toTf32(a[g * 8 + t]), toTf32(a[(g + 8) * 8 + t]), toTf32(a[g * 8 + t + 4]), toTf32(a[(g + 8) * 8 + t + 4])};
  const unsigned fb[2] = {toTf32(b[t * 8 + g]), toTf32(b[(t + 4) * 8 + g])};
  float fc[4] = {0, 0, 0, 0};
  multiplyTf32(fc, fa, fb);
  for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fc[i];
}

// Small integers: exact in every format, so that a wrong place shows and rounding does not.
void product(const char* what, int k, void (*kernel)(const float*, const float*, float*)) {
  auto a = device<float>(16 * k), b = device<float>(k * 8), c = device<float>(16 * 8);
  for (int i = 0; i < 16 * k; i++) a[i] = static_cast<float>((i * 7 + i / 16) % 23 - 11);
  for (int i = 0; i < k * 8; i++) b[i] = static_cast<float>((i * 5 + i / 8) % 19 - 9);
  const Status s = launch(context(), kernel, {dim3(1), dim3(32)}, a, b, c);
  int right = 0;
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      float want = 0;
      for (int x = 0; x < k; x++) want += a[i * k + x] * b[x * 8 + j];
      right += c[i * 8 + j] == want;
    }
  check(s.ok() && right == 128, what, s.message + std::to_string(right));
  cudaFree(a), cudaFree(b), cudaFree(c);
}

template <bool transposed>
__global__ void matrixLoad(int* bad, int shift) {
  __shared__ __align__(16) unsigned short m[4][8][8];
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) (&m[0][0][0])[i] = static_cast<unsigned short>(i);
  __syncwarp();
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  unsigned r[4];
  const char* row = reinterpret_cast<const char*>(m[lane / 8][lane % 8]) + shift;
  if (transposed)
    loadMatrix4Transposed(r, row);
  else
    loadMatrix4(r, row);
  int n = 0;
  for (unsigned k = 0; k < 4; k++) {
    const unsigned lo = transposed ? m[k][2 * t][g] : m[k][g][2 * t], hi = transposed ? m[k][2 * t + 1][g] : m[k][g][2 * t + 1];
    n += r[k] != (lo | hi << 16);
  }
  bad[lane] = n;
}

void loads() {
  auto bad = device<int>(32);
  for (const auto kernel : {matrixLoad<false>, matrixLoad<true>}) {
    const Status s = launch(context(), kernel, {dim3(1), dim3(32)}, bad, 0);
    int n = 0;
    for (int i = 0; i < 32; i++) n += bad[i];
    check(s.ok() && n == 0, "matrix load", s.message);
    refused("an unaligned matrix row", "not aligned to 16", [=] { return launch(context(), kernel, {dim3(1), dim3(32)}, bad, 2); });
  }
  cudaFree(bad);
}

// Two groups; y gets what is in shared memory after the first has arrived, z after both.
__global__ void lateCopies(const float* x, float* y, float* z, int wait) {
  NS_SHARED(float, tile);
  const int t = static_cast<int>(threadIdx.x);
  copyAsync16(tile + 4 * t, x + 4 * t, true);
  copyCommit();
  copyAsync4(tile + 128 + t, x + t, t % 2 == 0);
  copyCommit();
  if (wait) copyWait<1>();
  __syncthreads();
  for (int i = t; i < 160; i += 32) y[i] = tile[i];
  __syncthreads();
  copyWait<0>();
  __syncthreads();
  for (int i = t; i < 160; i += 32) z[i] = tile[i];
}

__global__ void badCopy(const float* x, int shift, int global) {
  NS_SHARED(float, tile);
  float own[4];
  copyAsync16(global ? own : tile + shift, x + (shift ? 0 : 1), true);
}

void copies() {
  auto x = device<float>(128), y = device<float>(160), z = device<float>(160);
  for (int i = 0; i < 128; i++) x[i] = static_cast<float>(i);
  for (int wait = 0; wait < 2; wait++) {
    const Status s = launch(context(), lateCopies, {dim3(1), dim3(32), 160 * sizeof(float)}, x, y, z, wait);
    int early = 0, late = 0, rest = 0, end = 0;
    for (int i = 0; i < 128; i++) early += y[i] == x[i], late += z[i] == x[i];
    for (int i = 0; i < 32; i++) rest += y[128 + i] == y[128 + i], end += z[128 + i] == (i % 2 ? 0 : x[i]);
    check(s.ok() && early == 128 * wait && late == 128 && rest == 0 && end == 32, "asynchronous copies", s.message);
  }
  const auto start = [&](int shift, int global) {
    return [=] { return launch(context(), badCopy, {dim3(1), dim3(1), 64}, x, shift, global); };
  };
  refused("a copy to an unaligned address", "not aligned", start(1, 0));
  refused("a copy from an unaligned address", "not aligned", start(0, 0));
  refused("a copy to a local variable", "not in shared memory", start(4, 1));
  cudaFree(x), cudaFree(y), cudaFree(z);
}

void rounding() {
  check(toTf32(1.0f) == 0x3f800000u && toTf32(1.0f + 0x1p-11f) == 0x3f802000u, "tf32 rounds a tie away from zero");
  check(toTf32(-1.0f - 0x1p-11f) == 0xbf802000u && toTf32(1.0f + 0x1p-12f) == 0x3f800000u, "tf32 rounds to nearest");
  check(toTf32(INFINITY) == 0x7f800000u && (toTf32(NAN) & 0x7fffffffu) > 0x7f800000u, "tf32 of what is no number");
}

}  // namespace

int main() {
  inEveryOrder([] {
    product("m16n8k16 of f16", 16, product16<f16>);
    product("m16n8k16 of bf16", 16, product16<bf16>);
    product("m16n8k8 of tf32", 8, productTf32);
    loads();
    copies();
  });
  rounding();
  return ns::test::finish();
}

// The emulation itself: barriers, exchanges within a warp, matrix fragments, late copies, and what it must refuse.
#include "cuda/test/emulation_check.h"

namespace {

constexpr int kThreads = 96;

__global__ void reversed(const int* x, int* y) {
  __shared__ int tile[kThreads];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

// Without the barrier: right only where the thread that wrote ran before.
__global__ void reversedWithoutBarrier(const int* x, int* y) {
  __shared__ int tile[kThreads];
  tile[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

void barriers() {
  auto x = device<int>(kThreads), y = device<int>(kThreads);
  for (int i = 0; i < kThreads; i++) x[i] = i;
  const auto right = [&](void (*kernel)(const int*, int*)) {
    const Status s = launch(context(), kernel, {dim3(1), dim3(kThreads)}, x, y);
    int n = 0;
    for (int i = 0; i < kThreads; i++) n += y[i] == kThreads - 1 - i;
    return s.ok() ? n : -1;
  };
  check(right(reversed) == kThreads, "__syncthreads");
  check(right(reversedWithoutBarrier) != kThreads, "a missing __syncthreads shows");
  cudaFree(x), cudaFree(y);
}

__global__ void votes(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  out[t] = __syncthreads_count(t % 3 == 0) + 1000 * __syncthreads_or(t == 5) + 2000 * __syncthreads_and(t < 96) +
           4000 * __syncthreads_and(t < 95);
}

__global__ void exchanges(int* bad) {
  const unsigned all = 0xffffffffu;
  const int t = static_cast<int>(threadIdx.x), lane = t % 32;
  int n = 0;
  n += __shfl_sync(all, t, 7) != t - lane + 7;
  n += __shfl_sync(all, t, 3, 8) != t - lane % 8 + 3;
  n += __shfl_xor_sync(all, 0.5 * t, 5) != 0.5 * (t ^ 5);
  n += __shfl_up_sync(all, static_cast<float>(t), 3) != static_cast<float>(lane < 3 ? t : t - 3);
  n += __shfl_down_sync(all, static_cast<unsigned>(t), 4, 16) != static_cast<unsigned>(lane % 16 >= 12 ? t : t + 4);
  n += __shfl_xor_sync(all, static_cast<long long>(t) << 40, 1) != static_cast<long long>(t ^ 1) << 40;
  n += toFloat(__shfl_sync(all, fromFloat<f16>(static_cast<float>(lane)), 31 - lane)) != static_cast<float>(31 - lane);
  n += toFloat(__shfl_sync(all, fromFloat<bf16>(static_cast<float>(lane)), 31 - lane)) != static_cast<float>(31 - lane);
  n += __ballot_sync(all, lane % 2) != 0xaaaaaaaau;
  n += __any_sync(all, lane == 9) != 1 || __any_sync(all, 0) != 0;
  n += __all_sync(all, 1) != 1 || __all_sync(all, lane != 9) != 0;
  n += __match_any_sync(all, lane / 16) != (lane < 16 ? 0xffffu : 0xffff0000u);
  n += __reduce_add_sync(all, 1u) != 32 || __reduce_max_sync(all, -lane) != 0 || __reduce_min_sync(all, static_cast<unsigned>(lane)) != 0;
  n += __reduce_or_sync(all, 1u << lane) != all || __reduce_and_sync(all, ~(1u << lane)) != 0;
  // Halves of a warp on their own, each its own number of times.
  const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
  for (int i = 0; i < (lane < 16 ? 3 : 5); i++) n += __shfl_xor_sync(half, t + i, 15) != (t ^ 15) + i;
  __syncwarp();
  bad[t] = n;
}

void warps() {
  auto out = device<int>(kThreads);
  Status s = launch(context(), votes, {dim3(1), dim3(kThreads)}, out);
  int right = 0;
  for (int i = 0; i < kThreads; i++) right += out[i] == 32 + 1000 + 2000;
  check(s.ok() && right == kThreads, "barriers that count", s.message);
  s = launch(context(), exchanges, {dim3(1), dim3(kThreads)}, out);
  int bad = 0;
  for (int i = 0; i < kThreads; i++) bad += out[i];
  check(s.ok() && bad == 0, "exchanges within a warp", s.message);
  cudaFree(out);
}

__global__ void counts(int* n, unsigned long long* most, float* sum) {
  atomicAdd(n, 1);
  atomicMax(most, threadIdx.x + 7ull);
  atomicAdd(sum, 0.5f);
  atomicCAS(n + 1, 0, static_cast<int>(threadIdx.x) + 1);
  atomicOr(n + 2, 1 << threadIdx.x % 8);
}

void atomics() {
  auto n = device<int>(3);
  auto most = device<unsigned long long>(1);
  auto sum = device<float>(1);
  n[0] = n[1] = n[2] = 0, *most = 0, *sum = 0;
  const Status s = launch(context(), counts, {dim3(2), dim3(64)}, n, most, sum);
  check(s.ok() && n[0] == 128 && *most == 70 && *sum == 64 && n[1] > 0 && n[2] == 255, "atomics", s.message);
  cudaFree(n), cudaFree(most), cudaFree(sum);
}

__global__ void fresh(int* bad) {
  __shared__ float fixed[64];
  NS_SHARED(float, dynamic);
  bad[blockIdx.x * 64 + threadIdx.x] = !isnan(dynamic[threadIdx.x]) + 2 * (blockIdx.x == 0 && !isnan(fixed[threadIdx.x]));
  fixed[threadIdx.x] = dynamic[threadIdx.x] = 1;
}

__global__ void overrun(int at) {
  NS_SHARED(char, bytes);
  if (threadIdx.x == 3) bytes[at] = 1;
}

void shared() {
  auto bad = device<int>(128);
  const Shape shape{dim3(2), dim3(64), 256};
  launch(context(), fresh, shape, bad);
  const Status s = launch(context(), fresh, shape, bad);
  int n = 0;
  for (int i = 0; i < 128; i++) n += bad[i];
  // The first block in the order of turns starts with fixed memory that nobody wrote; it need not be block 0.
  check(s.ok() && (n == 0 || turns() != ns::emulation::Order::ascending), "shared memory starts as NaN", s.message);
  check(launch(context(), overrun, {dim3(1), dim3(32), 100}, 99).ok(), "the last byte of shared memory");
  refused("a write behind shared memory", "at byte 100", [] { return launch(context(), overrun, {dim3(1), dim3(32), 100}, 100); });
  refused("a write before shared memory", "at byte -1", [] { return launch(context(), overrun, {dim3(1), dim3(32), 100}, -1); });
  cudaFree(bad);
}

__global__ void barrierInBranch() {
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void twoBarriers() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads_or(1);
}
__global__ void shuffleInBranch() {
  if (threadIdx.x % 32 < 16) __shfl_sync(0xffffffffu, 1, 0);
}
__global__ void wrongMask() { __shfl_sync(1u, 1, 0); }
__global__ void twoShuffles() {
  if (threadIdx.x % 2)
    __shfl_sync(0xffffffffu, 1, 0);
  else
    __ballot_sync(0xffffffffu, 1);
}
__global__ void trapped() { __trap(); }

__global__ void wild(int* x) { x[(1ll << 40) + threadIdx.x] = 1; }
int down(volatile int* x, int n) {
  volatile int local[1000];
  local[n % 1000] = x[0];
  return n > 0 ? down(x, n - 1) + local[n % 1000] : 0;
}
__global__ void deep(int* x) { x[threadIdx.x] = down(x, 1 << 20); }

void divergence() {
  const Shape two{dim3(2), dim3(64)};
  refused("a barrier that some do not reach", "waits at __syncthreads", [=] { return launch(context(), barrierInBranch, two); });
  refused("two kinds of barriers", "__syncthreads_or", [=] { return launch(context(), twoBarriers, two); });
  refused("a shuffle that half a warp misses", "waits at __shfl_sync", [=] { return launch(context(), shuffleInBranch, two); });
  refused("a mask without the caller", "lacks the calling lane", [=] { return launch(context(), wrongMask, two); });
  refused("two collectives at once", "meets", [=] { return launch(context(), twoShuffles, two); });
  refused("a trap", "__trap", [=] { return launch(context(), trapped, two); });
  auto out = device<int>(kThreads);
  refused("a part of a warp", "__shfl_sync", [=] { return launch(context(), exchanges, {dim3(1), dim3(40)}, out); });
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
  refused("a wild address", "which is not there", [=] { return launch(context(), wild, two, out); });
  refused("too deep a stack", "which is not there", [=] { return launch(context(), deep, two, out); });
#endif
  cudaFree(out);
  barriers();  // and it goes on as if nothing had been
}

void halves() {
  int bad = 0;
  for (unsigned i = 0; i < 65536; i++) {
    const auto h = static_cast<unsigned short>(i);
    const float f = __half2float(__ushort_as_half(h)), b = __bfloat162float(__ushort_as_bfloat16(h));
    if (f == f) bad += __half_as_ushort(__float2half_rn(f)) != h;
    if (b == b) bad += __bfloat16_as_ushort(__float2bfloat16_rn(b)) != h;
    // Halfway to the next value goes to the even one.
    const float next = __half2float(__ushort_as_half(static_cast<unsigned short>(h + 1)));
    if ((h & 0x7fff) < 0x7bff) bad += __half_as_ushort(__float2half_rn((f + next) / 2)) != (h & 1 ? h + 1 : h);
  }
  check(bad == 0, "16-bit floats and back");
  check(__half2float(__float2half_rn(65520)) == INFINITY && __half2float(__float2half_rn(65519)) == 65504, "f16 overflow");
  check(isnan(__half2float(__float2half_rn(NAN))) && isnan(__bfloat162float(__float2bfloat16_rn(NAN))), "16-bit NaN");
}

void mathematics() {
  double worst = 0;
  for (double v = -0.9999; v < 1; v += 0.0007) worst = fmax(worst, fabs(erf(erfinv(v)) - v));
  check(worst < 1e-14 && erfinvf(1) == INFINITY && isnan(erfinvf(2)), "erfinv");
  check(min(-1, 2) == -1 && max(-1, 2u) == 0xffffffffu && min(NAN, 2.0f) == 2 && max(3ll, 4ll) == 4, "min and max");
  check(__clz(1) == 31 && __ffs(8) == 4 && __popc(255) == 8 && __brev(1) == 0x80000000u && __umulhi(1u << 31, 4) == 2, "bits");
}

}  // namespace

int main() {
  inEveryOrder([] {
    barriers();
    warps();
    atomics();
    shared();
    divergence();
  });
  halves();
  mathematics();
  return ns::test::finish();
}

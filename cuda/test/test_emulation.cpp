// The emulation itself: first that a kernel runs at all.
#include "cuda/common/launch.h"
#include "cuda/common/ptx.h"
#include "cuda/common/reduce.h"
#include "cuda/common/shared.h"
#include "cuda/emulation/control.h"
#include "native/test/check.h"

using namespace ns;
using namespace ns::cuda;
using ns::test::check;

namespace {

__global__ void sums(const float* x, float* y, int n) {
  NS_SHARED(float, tile);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = i < n ? x[i] : 0;
  __syncthreads();
  const float total = blockSum(tile[blockDim.x - 1 - threadIdx.x]);
  if (threadIdx.x == 0) y[blockIdx.x] = total;
}

struct NoScratch : Scratch {
  void* bytes(int, size_t) override { return nullptr; }
};

}  // namespace

int main() {
  NoScratch memory;
  Libraries libraries;
  const Context ctx{nullptr, nullptr, 0, 132, 90, 227 * 1024, false, false, memory, libraries};
  float *x, *y;
  cudaMalloc(&x, 1000 * 4);
  cudaMalloc(&y, 4 * 4);
  for (int i = 0; i < 1000; i++) x[i] = static_cast<float>(i);
  const Status s = launch(ctx, sums, {dim3(4), dim3(256), 1024}, x, y, 1000);
  check(s.ok(), "runs", s.message);
  check(y[0] == 32640 && y[3] == (768 + 999) * 232 / 2, "block sums");
  return ns::test::finish();
}

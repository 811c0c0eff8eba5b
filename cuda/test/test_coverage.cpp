// Every op of the engine has its kernel: none is left to the fallback that answers NS_UNSUPPORTED.
#include "cuda/fallback.h"
#include "native/test/check.h"

int main() {
  std::string names;
  for (const std::string& name : ns::cuda::missingOps()) names += " " + name;
  ns::test::check(names.empty(), "ops without a CUDA kernel:", names);
  return ns::test::finish();
}

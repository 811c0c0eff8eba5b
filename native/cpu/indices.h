// The check of index tensors, made before an op writes anything.
#pragma once
#include <cstdint>

#include "native/abi/status.h"

namespace ns::cpu {

// Ok where every value lies in [0, limit), else NS_INDEX with the first that does not.
inline Status checkIndices(const char* op, const char* name, const int32_t* values, int64_t n, int64_t limit) {
  for (int64_t i = 0; i < n; i++) {
    if (values[i] >= 0 && values[i] < limit) continue;
    return failure(NS_INDEX, "[%s] %s[%lld] is %d, accepted: 0 to %lld", op, name, static_cast<long long>(i), values[i],
                   static_cast<long long>(limit - 1));
  }
  return {};
}

}  // namespace ns::cpu

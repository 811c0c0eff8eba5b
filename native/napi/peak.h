#pragma once
#include <napi.h>

namespace ns::node {

// peak(threads, bytes, rounds) -> {flops, bytesPerSecond, threads, target}: measured at once on a pool of its own.
Napi::Value peak(const Napi::CallbackInfo& info);

}  // namespace ns::node

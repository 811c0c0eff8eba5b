#include "native/napi/peak.h"

#include <new>

#include "native/cpu/peak.h"

namespace ns::node {

Napi::Value peak(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  for (size_t i = 0; i < 3; i++) {
    if (i >= info.Length() || !info[i].IsNumber())
      throw Napi::TypeError::New(env, "peak(threads, bytes, rounds): three numbers are needed");
  }
  const int threads = info[0].As<Napi::Number>().Int32Value();
  const double bytes = info[1].As<Napi::Number>().DoubleValue();
  const int rounds = info[2].As<Napi::Number>().Int32Value();
  if (threads < 0 || threads > 4096 || !(bytes >= 1 << 20 && bytes <= 16e9) || rounds < 1 || rounds > 1000) {
    throw Napi::RangeError::New(env, "peak(threads, bytes, rounds): out of range");
  }
  try {
    cpu::Pool pool(threads);
    const cpu::Peak p = cpu::measurePeak(pool, static_cast<size_t>(bytes), rounds);
    Napi::Object o = Napi::Object::New(env);
    o.Set("flops", p.flops);
    o.Set("bytesPerSecond", p.bytesPerSecond);
    o.Set("threads", pool.threads());
    o.Set("target", p.target);
    return o;
  } catch (const std::bad_alloc&) {
    throw Napi::Error::New(env, "peak: not enough memory");
  }
}

}  // namespace ns::node

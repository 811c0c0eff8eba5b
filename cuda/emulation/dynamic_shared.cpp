#include "cuda/emulation/dynamic_shared.h"

#include <cstring>
#include <vector>

#include "cuda/emulation/scheduler.h"
#include "cuda/emulation/static_shared.h"

namespace ns::emulation {

namespace {

constexpr size_t kGuard = 512;
constexpr unsigned char kCanary = 0xA5;
constexpr unsigned kWindow = 0x480;

std::vector<unsigned char> memory;  // both guards as well
unsigned char* shared = nullptr;
size_t size = 0;

}  // namespace

void resizeDynamicShared(size_t bytes) {
  size = bytes;
  memory.resize(bytes + 2 * kGuard + 128);
  const auto base = reinterpret_cast<uintptr_t>(memory.data()) + kGuard;
  shared = reinterpret_cast<unsigned char*>((base + 127) & ~uintptr_t{127});
  memset(memory.data(), kCanary, memory.size());
}

// NaN in every float type, -1 in every integer.
void fillDynamicShared() { memset(shared, 0xff, size); }

std::string writtenOutside() {
  if (size == 0) return std::string();
  const unsigned char* end = shared + size;
  for (const unsigned char* p = memory.data(); p < memory.data() + memory.size(); p++) {
    if (p == shared) p = end;
    if (*p == kCanary) continue;
    return "a write outside the " + std::to_string(size) + " bytes of dynamic shared memory, at byte " + std::to_string(p - shared);
  }
  return std::string();
}

void* dynamicShared() { return shared; }

unsigned sharedOffset(const void* p) {
  const auto at = static_cast<const unsigned char*>(p) - shared;
  if (at < 0 || static_cast<size_t>(at) > size) fail("the shared address of what is not in dynamic shared memory");
  return kWindow + static_cast<unsigned>(at);
}

unsigned char* atShared(unsigned address, size_t bytes) {
  if (address < kWindow || address - kWindow + bytes > size) return nullptr;
  return shared + (address - kWindow);
}

bool isShared(const void* p, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(p);
  if (at >= shared && at + bytes <= shared + size) return true;
  return inStaticShared(p, bytes);
}

}  // namespace ns::emulation

#include "cuda/emulation/static_shared.h"

#include <link.h>

#include <cstdint>
#include <cstring>

namespace ns::emulation {

namespace {

struct Range {
  char* begin = nullptr;
  char* end = nullptr;
};

// Keeps the segment from being empty, and gives this thread its copy before it is asked for. Has an initial value: never filled.
thread_local volatile int touched = 1;

// The module is the one whose thread-local segment holds `touched`.
int find(dl_phdr_info* info, size_t, void* out) {
  if (!info->dlpi_tls_data) return 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr)& h = info->dlpi_phdr[i];
    if (h.p_type != PT_TLS) continue;
    auto* begin = static_cast<char*>(info->dlpi_tls_data);
    const auto* mine = reinterpret_cast<const char*>(const_cast<const int*>(&touched));
    if (mine < begin || mine >= begin + h.p_memsz) continue;
    *static_cast<Range*>(out) = {begin + h.p_filesz, begin + h.p_memsz};
    return 1;
  }
  return 0;
}

Range range() {
  touched = 1;
  Range found;
  dl_iterate_phdr(find, &found);
  return found;
}

Range current;  // of the thread that runs the kernel

}  // namespace

void fillStaticShared() {
  const Range r = current = range();
  if (r.begin) memset(r.begin, 0xff, static_cast<size_t>(r.end - r.begin));
}

bool inStaticShared(const void* p, size_t bytes) {
  const Range r = current;
  const auto* at = static_cast<const char*>(p);
  return at >= r.begin && at + bytes <= r.end;
}

}  // namespace ns::emulation

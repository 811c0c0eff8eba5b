// Backends by name: those linked in, and plug-ins found beside the addon.
#pragma once
#include <string>
#include <vector>

#include "native/abi/backend.h"

namespace ns {
const NsBackend* cpuBackend();
const NsBackend* nullBackend();
}  // namespace ns

namespace ns::core {

struct BackendEntry {
  std::string name;
  const NsBackend* table = nullptr;  // null: not available, see reason
  bool host = false;                 // its memory is host memory: files may be mapped instead of copied
  std::string reason;
};

// folder: where plug-ins are looked for (nextscale_<name>.so); empty: none.
BackendEntry findBackend(const std::string& name, const std::string& folder);
std::vector<BackendEntry> allBackends(const std::string& folder);

}  // namespace ns::core

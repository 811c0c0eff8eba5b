#include "native/core/registry.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include "native/abi/status.h"

namespace ns::core {

namespace {

BackendEntry plugin(const std::string& name, const std::string& folder) {
  BackendEntry e;
  e.name = name;
  const std::string path = folder + "/nextscale_" + name + ".so";
  struct stat info;
  if (folder.empty() || stat(path.c_str(), &info) != 0) {
    e.reason = "plug-in nextscale_" + name + ".so is not there (it is built when the compiler nvcc is found)";
    return e;
  }
  // Never closed: a backend may leave threads and exit handlers behind.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* why = dlerror();
    e.reason = std::string("plug-in does not load: ") + (why ? why : "unknown reason");
    return e;
  }
  using Entry = const NsBackend* (*)();
  auto entry = reinterpret_cast<Entry>(dlsym(handle, "ns_backend"));
  const NsBackend* table = entry ? entry() : nullptr;
  if (!table) {
    e.reason = "plug-in has no function ns_backend";
  } else if (table->abi_version != NS_ABI_VERSION || table->struct_size != sizeof(NsBackend)) {
    e.reason = "plug-in has ABI version " + std::to_string(table->abi_version) + ", this addon has " + std::to_string(NS_ABI_VERSION);
  } else {
    Status status;
    if (table->probe) table->probe(&status);
    if (status.ok()) {
      e.table = table;
    } else {
      e.reason = status.message;
    }
  }
  return e;
}

}  // namespace

BackendEntry findBackend(const std::string& name, const std::string& folder) {
  if (name == "cpu") return {name, cpuBackend(), true, ""};
  if (name == "null") return {name, nullBackend(), true, ""};
  if (name == "cuda") return plugin(name, folder);
  return {name, nullptr, false, "unknown device"};
}

std::vector<BackendEntry> allBackends(const std::string& folder) {
  return {findBackend("cpu", folder), findBackend("null", folder), findBackend("cuda", folder)};
}

}  // namespace ns::core

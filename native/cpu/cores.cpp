// Reference: kernel documentation, admin-guide/cgroup-v2, "CPU Interface Files".
#include "native/cpu/cores.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace ns::cpu {
namespace {

constexpr long long kMost = 1 << 20;

int affinityCores() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string firstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The group of this process in the unified hierarchy, or "/".
std::string ownGroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 3, "0::") == 0) return line.substr(3);
  }
  return "/";
}

}  // namespace

int coresOfQuota(const std::string& text) {
  char* end = nullptr;
  const long long quota = std::strtoll(text.c_str(), &end, 10);
  const long long period = std::strtoll(end, nullptr, 10);
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::clamp((quota - 1) / period + 1, 1LL, kMost));
}

int coresOfGroup(const std::string& root, std::string group) {
  int least = 0;
  for (;;) {
    while (!group.empty() && group.back() == '/') group.pop_back();
    const int cores = coresOfQuota(firstLine(root + group + "/cpu.max"));
    if (cores > 0 && (least == 0 || cores < least)) least = cores;
    if (group.empty()) return least;
    const size_t cut = group.rfind('/');
    group.resize(cut == std::string::npos ? 0 : cut);
  }
}

int usableCores() {
  const int cores = affinityCores(), paid = coresOfGroup("/sys/fs/cgroup", ownGroup());
  return paid > 0 ? std::min(cores, paid) : cores;
}

}  // namespace ns::cpu

// How many threads this process can keep busy.
#pragma once
#include <string>

namespace ns::cpu {

// Cores of the affinity mask, at most what the cgroup's CPU quota pays for (a container's --cpus); at least 1.
int usableCores();

// Cores behind the text of a cgroup's cpu.max ("200000 100000"), rounded up; 0: no limit.
int coresOfQuota(const std::string& text);

// The smallest of cpu.max over a cgroup (of the form /a/b) and those above it; 0: no limit.
int coresOfGroup(const std::string& root, std::string group);

}  // namespace ns::cpu

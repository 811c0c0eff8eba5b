// Ops whose kernel is not written: they answer NS_UNSUPPORTED.
#pragma once
#include <string>
#include <vector>

namespace ns::cuda {

std::vector<std::string> missingOps();

}  // namespace ns::cuda

// What every native test counts and prints.
#pragma once
#include <cstdio>
#include <string>

namespace ns::test {

inline int passed = 0, failed = 0;

inline void check(bool ok, const char* what, const std::string& detail = "") {
  ok ? passed++ : failed++;
  if (!ok) printf("FAILED %s %s\n", what, detail.c_str());
}

inline int finish() {
  printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}

}  // namespace ns::test

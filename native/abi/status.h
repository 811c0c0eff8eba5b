#pragma once
#include <cstdarg>
#include <cstdio>

#include "native/abi/backend.h"

namespace ns {

// What a kernel returns: ok, or a code and a message with the shapes in it.
struct Status : NsStatus {
  Status() {
    code = NS_OK;
    message[0] = 0;
  }
  bool ok() const { return code == NS_OK; }
};

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
inline Status
failure(NsCode code, const char* format, ...) {
  Status s;
  s.code = code;
  va_list args;
  va_start(args, format);
  vsnprintf(s.message, sizeof(s.message), format, args);
  va_end(args);
  return s;
}

}  // namespace ns

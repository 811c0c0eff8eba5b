// Copies that arrive late, and matrix loads and products of a whole warp.
#pragma once
#include "cuda/emulation/scheduler.h"

namespace ns::emulation {

void beginCopy(void* to, const void* from, int bytes, bool valid);
void commitCopies();
void waitForCopies(int left);
void loadMatrix(unsigned* r, const void* row, Wait kind);
void multiply(float* c, const unsigned* a, const unsigned* b, Wait kind);

}  // namespace ns::emulation

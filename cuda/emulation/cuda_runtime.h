// The part of the CUDA runtime that this project uses, for g++: found before the toolkit's header by its include path.
#pragma once
#ifndef NS_EMULATED
#error "cuda/emulation is for builds with -DNS_EMULATED"
#endif
#include <cstring>

#include "cuda/emulation/api.h"
#include "cuda/emulation/device.h"
#include "cuda/emulation/device_math.h"
#include "cuda/emulation/qualifiers.h"

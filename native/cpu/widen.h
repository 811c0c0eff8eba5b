// 16-bit activations on the CPU: kernels compute in f32, so a call is given f32 copies of its 16-bit tensors.
#pragma once
#include "native/cpu/context.h"

namespace ns::cpu {

// Whether an activation or an output of the call is f16 or bf16 where the kernel computes in f32.
bool needsWidening(const NsCall& call);

using Dispatch = Status (*)(Context& ctx, const NsCall& call);

// Runs the call on f32 copies, held in `wide`, and rounds outputs and activations changed in place once, to nearest even. Throws
// std::bad_alloc.
Status widened(Context& ctx, Scratch& wide, const NsCall& call, Dispatch dispatch);

}  // namespace ns::cpu

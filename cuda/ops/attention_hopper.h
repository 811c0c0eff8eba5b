// The part of attention that needs code for sm_90a.
#pragma once
#include "cuda/kernels/attention_mma.cuh"

namespace ns::cuda {

// Whether the environment asks for it (NEXTSCALE_CUDA_HOPPER=1: not seen on hardware yet), the device runs it and the build has it.
bool hopperWanted(const Context& ctx);

// Width 64 and a positive scale. f.s.l > 0.
Status attentionOnHopper(const Context& ctx, const att::Forward<f16>& f);
Status attentionOnHopper(const Context& ctx, const att::Forward<bf16>& f);

}  // namespace ns::cuda

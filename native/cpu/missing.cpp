// Ops of the table without a kernel yet: weak, so that the kernel replaces them at link time.
#include "native/cpu/context.h"

namespace ns::cpu::kernels {

#define NS_MISSING(name)                                                                \
  __attribute__((weak)) Status name(Context&, const NsCall&, const op::name::Params&) { \
    return failure(NS_UNSUPPORTED, "[" #name "] has no kernel");                        \
  }
NS_MISSING(unary_grad)
NS_MISSING(affine_grad)
NS_MISSING(sum_to)
NS_MISSING(broadcast_to)
NS_MISSING(softmax_grad)
NS_MISSING(l2_normalize_grad)
NS_MISSING(embedding_grad)
NS_MISSING(scatter_rows)
NS_MISSING(bincount)
NS_MISSING(interpolate_grad)
NS_MISSING(dilate)
NS_MISSING(gate_residual)
NS_MISSING(gate_residual_grad)
NS_MISSING(linear_grad_w)
NS_MISSING(conv2d_grad_w)
NS_MISSING(attention_grad)
NS_MISSING(layer_norm_grad)
NS_MISSING(group_norm_grad)
NS_MISSING(cross_entropy)
NS_MISSING(cross_entropy_grad)
NS_MISSING(pair_loss)
NS_MISSING(pair_loss_grad)
NS_MISSING(grad_stats)
NS_MISSING(adamw)
NS_MISSING(adamw8)
NS_MISSING(sgd)
#undef NS_MISSING

}  // namespace ns::cpu::kernels

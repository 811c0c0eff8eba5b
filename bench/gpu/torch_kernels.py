"""The kernels of bench/gpu/specs.ts in PyTorch, for bench/gpu/kernels.ts: one JSON request per line on stdin, one JSON answer per line on stdout.

{"cmd": "open", "spec": {...}, "instances": n, "replayS": s} prepares n sets of inputs and a CUDA graph of enough calls; {"cmd": "round"} answers with
the seconds of one call by CUDA events; {"cmd": "close"} frees the memory. --smoke runs on the CPU, without graphs.
"""
import contextlib
import gc
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

SMOKE = "--smoke" in sys.argv
DEVICE = "cpu" if SMOKE else "cuda"
PATCHES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def rand(*shape, dtype=torch.float32):
    return (torch.rand(*shape, device=DEVICE) * 2 - 1).to(dtype)


def block_causal(length, dtype):
    """The additive mask, or None where every key is seen."""
    level = torch.cat([torch.full((p * p,), i) for i, p in enumerate(PATCHES)])
    if length != len(level):
        return None
    seen = level[:, None] >= level[None, :]
    return torch.zeros(length, length, dtype=dtype).masked_fill_(~seen, -math.inf).to(DEVICE)


def heads_of(qkv, heads, width):
    batch, length = qkv.shape[:2]
    q, k, v = qkv.view(batch, length, 3, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def normalised(q, k, scale_mul):
    # As the reference: l2 norm per head, a learnt scale per head.
    scale = scale_mul.clamp_max(math.log(100)).exp()
    return (F.normalize(q, dim=-1) * scale).to(k.dtype), F.normalize(k, dim=-1)


def attend(q, k, v, mask):
    if hasattr(F, "scaled_dot_product_attention"):
        try:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        except TypeError:  # before torch 2.1
            return F.scaled_dot_product_attention(q * math.sqrt(q.shape[-1]), k, v, attn_mask=mask)
    scores = q @ k.transpose(-1, -2)
    return (scores if mask is None else scores + mask).softmax(-1).to(v.dtype) @ v


def attention(s, dtype):
    qkv = rand(s["B"], s["l"], 3 * s["H"] * s["c"], dtype=dtype)
    scale_mul = rand(1, s["H"], 1, 1)
    mask = block_causal(s["l"], dtype)

    def call():
        q, k, v = heads_of(qkv, s["H"], s["c"])
        q, k = normalised(q, k, scale_mul)
        return attend(q, k, v, mask).transpose(1, 2).reshape(s["B"], s["l"], -1)

    return call


def attention_grad(s, dtype):
    # Backward alone: the graph of the forward pass is kept.
    qkv = rand(s["B"], s["l"], 3 * s["H"] * s["c"], dtype=dtype).requires_grad_()
    scale_mul = rand(1, s["H"], 1, 1).requires_grad_()
    mask = block_causal(s["l"], dtype)
    q, k, v = heads_of(qkv, s["H"], s["c"])
    q, k = normalised(q, k, scale_mul)
    y = attend(q, k, v, mask).transpose(1, 2).reshape(s["B"], s["l"], -1)
    dy = torch.rand_like(y)
    return lambda: torch.autograd.grad(y, (qkv, scale_mul), dy, retain_graph=True)


def attention_step(s, dtype):
    qkv = rand(s["B"], s["l"], 3 * s["H"] * s["c"], dtype=dtype)
    scale_mul = rand(1, s["H"], 1, 1)
    k_cache, v_cache = (rand(s["B"], s["H"], s["pos"] + s["l"], s["c"], dtype=dtype) for _ in range(2))

    def call():
        q, k, v = heads_of(qkv, s["H"], s["c"])
        q, k = normalised(q, k, scale_mul)
        k_cache[:, :, s["pos"] :] = k
        v_cache[:, :, s["pos"] :] = v
        return attend(q, k_cache, v_cache, None).transpose(1, 2).reshape(s["B"], s["l"], -1)

    return call


def linear(s, dtype):
    x, w, bias = rand(s["M"], s["K"], dtype=dtype), rand(s["N"], s["K"], dtype=dtype), rand(s["N"], dtype=dtype)
    return lambda: F.linear(x, w, bias)


def linear_grad_w(s, dtype):
    x, dy = rand(s["M"], s["K"], dtype=dtype), rand(s["M"], s["N"], dtype=dtype)
    dw, dbias = torch.zeros(s["N"], s["K"], device=DEVICE, dtype=dtype), torch.zeros(s["N"], device=DEVICE)

    def call():
        torch.addmm(dw, dy.t(), x, out=dw)
        dbias.add_(dy.sum(0, dtype=torch.float32))

    return call


def conv2d(s, dtype):
    kernel = s["kernel"]
    x = rand(s["B"], s["I"], s["h"], s["h"], dtype=dtype).to(memory_format=torch.channels_last)
    w = rand(s["o"], s["I"], kernel, kernel, dtype=dtype).to(memory_format=torch.channels_last)
    bias = rand(s["o"], dtype=dtype)

    def call():
        up = F.interpolate(x, scale_factor=2, mode="nearest") if s["upsample"] == 2 else x
        return F.conv2d(up, w, bias, padding=(kernel - 1) // 2)

    return call


def group_norm(s, dtype):
    x = rand(s["B"], s["C"], s["h"], s["h"], dtype=dtype).to(memory_format=torch.channels_last)
    gamma, beta = rand(s["C"], dtype=dtype), rand(s["C"], dtype=dtype)
    return lambda: F.silu(F.group_norm(x, 32, gamma, beta, 1e-6))


def layer_norm(s, dtype):
    x, mod = rand(s["B"], s["l"], s["C"]), rand(s["B"], 6, 1, s["C"])
    return lambda: (F.layer_norm(x, (s["C"],), eps=1e-6) * (1 + mod[:, 2]) + mod[:, 4]).to(dtype)


def vq_lookup(s, dtype):
    z, book = rand(s["N"], s["C"]), rand(s["V"], s["C"])
    norms = book.square().sum(1)
    return lambda: torch.addmm(norms, z, book.t(), alpha=-2).argmin(1)


def sample_cfg(s, dtype):
    # As the reference's sampler: guidance, top k, top p by a sort, multinomial.
    logits = rand(2 * s["B"], s["l"], s["V"])
    k = min(900, s["V"])

    def call():
        mixed = 2.5 * logits[: s["B"]] - 1.5 * logits[s["B"] :]
        mixed = mixed.masked_fill(mixed < mixed.topk(k, dim=-1)[0].amin(-1, keepdim=True), -math.inf)
        ordered, index = mixed.sort(dim=-1)
        cut = ordered.softmax(-1).cumsum(-1) <= 0.05
        cut[..., -1:] = False
        mixed = mixed.masked_fill(cut.scatter(2, index, cut), -math.inf)
        return torch.multinomial(mixed.softmax(-1).view(-1, s["V"]), 1)

    return call


def cross_entropy(s, dtype):
    logits, target = rand(s["M"], s["V"], dtype=dtype), torch.randint(s["V"], (s["M"],), device=DEVICE)
    return lambda: F.cross_entropy(logits, target, reduction="none")


def adamw(s, dtype):
    param = rand(s["n"]).requires_grad_()
    param.grad = rand(s["n"])
    extra = {} if SMOKE else {"fused": True, "capturable": True}
    return torch.optim.AdamW([param], lr=1e-4, weight_decay=0.05, **extra).step


MAKES = {f.__name__: f for f in (attention, attention_grad, attention_step, linear, linear_grad_w, conv2d, group_norm, layer_norm, vq_lookup, sample_cfg, cross_entropy, adamw)}


def on_stream(method):
    """Everything on one stream of its own: a backward pass runs on the stream of its forward pass, and only that one is recorded."""

    def run(self, *args):
        with torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            return method(self, *args)

    return run


class Kernel:
    def __init__(self, request):
        self.stream = None if SMOKE else torch.cuda.Stream()
        self.graph = None
        self.prepare(request)

    @on_stream
    def prepare(self, request):
        s = request["spec"]
        make = MAKES.get(s["op"])
        if not make:
            raise NotImplementedError(f"PyTorch has no {s['op']}")
        self.calls = [make(s, DTYPES[s["dtype"]]) for _ in range(request["instances"])]
        self.count = len(self.calls)
        self.once()
        seconds = min(self.round() for _ in range(2))
        self.count = max(self.count, min(2000, math.ceil(request["replayS"] / seconds)))
        if not SMOKE:
            self.capture()
        self.round()

    def once(self):
        for i in range(self.count):
            self.calls[i % len(self.calls)]()

    def capture(self):
        """What cannot be recorded, multinomial's generator in old versions say, is timed call by call."""
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self.stream):
                self.once()
            self.graph = graph
        except Exception as error:
            print(f"no graph: {error}", file=sys.stderr)
            torch.cuda.synchronize()

    @on_stream
    def round(self):
        run = self.graph.replay if self.graph else self.once
        if SMOKE:
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) / self.count
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000 / self.count


def main():
    print(json.dumps({"seconds": 0, "torch": torch.__version__}), flush=True)
    kernel = None
    for line in sys.stdin:
        request, answer = json.loads(line), {"seconds": 0}
        if request["cmd"] == "open":
            try:
                kernel = Kernel(request)
            except Exception as error:
                answer["missing"] = str(error).split("\n")[0]
        elif request["cmd"] == "round":
            answer["seconds"] = kernel.round()
        elif request["cmd"] == "close":
            kernel = None
            gc.collect()
            if not SMOKE:
                torch.cuda.empty_cache()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

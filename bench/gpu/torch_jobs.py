"""The reference VAR in PyTorch for bench/gpu/jobs.ts: one JSON request per line on stdin, one JSON answer per line on stdout.

VAR_REPO names a checkout of FoundationVision/VAR, which is imported as it is; its attention is F.scaled_dot_product_attention where flash-attn is not
installed. bf16 by autocast, as the reference samples and trains. {"cmd": "open", "job": "generate" | "train", "variant": "eager" | "compiled", ...}
makes a model of random weights; {"cmd": "generate" | "step", "seed": n} answers with seconds. --smoke runs on the CPU, and compiles nothing.
"""
import json
import os
import resource
import sys
import time
import types

import torch
import torch.nn.functional as F

SMOKE = "--smoke" in sys.argv
DEVICE = "cpu" if SMOKE else "cuda"


def reference():
    # The reference imports a hub mixin that plays no part here.
    hub = types.ModuleType("huggingface_hub")
    hub.PyTorchModelHubMixin = type("PyTorchModelHubMixin", (), {"__init_subclass__": classmethod(lambda cls, **kw: None)})
    sys.modules.setdefault("huggingface_hub", hub)
    sys.path.insert(0, os.environ["VAR_REPO"])
    import models

    return models


def wait():
    if not SMOKE:
        torch.cuda.synchronize()


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if SMOKE else torch.cuda.max_memory_reserved()


def autocast():
    return torch.autocast(DEVICE, dtype=torch.bfloat16, cache_enabled=True)


def build(request):
    models = reference()
    torch.manual_seed(0)
    if not SMOKE:
        torch.backends.cudnn.benchmark = True
    patches = tuple(request["patchNums"])
    heads = request["embedDim"] // 64
    vae = models.VQVAE(vocab_size=4096, z_channels=32, ch=request["ch"], test_mode=True, share_quant_resi=4, v_patch_nums=patches)
    train = request["job"] == "train"
    var = models.VAR(
        vae_local=vae, num_classes=1000, depth=request["depth"], embed_dim=request["embedDim"], num_heads=heads, drop_path_rate=0.0,
        attn_l2_norm=True, shared_aln=False, cond_drop_rate=0.0 if train else 0.1, patch_nums=patches,
    )
    var.init_weights()
    vae, var = vae.to(DEVICE), var.to(DEVICE)
    if request["variant"] == "compiled" and not SMOKE:
        compile_parts(vae, var)
    return vae.eval(), var.train(train)


def compile_parts(vae, var):
    # Dynamic shapes: a graph per block instead of one per block and scale.
    torch._dynamo.config.cache_size_limit = 256
    for block in var.blocks:
        block.forward = torch.compile(block.forward, dynamic=True)
    vae.decoder.forward = torch.compile(vae.decoder.forward)


class Generate:
    def __init__(self, request):
        self.vae, self.var = build(request)
        # The reference draws from a generator on its own device.
        self.var.rng = torch.Generator(device=DEVICE)
        self.labels = torch.arange(request["batch"], device=DEVICE) % 1000
        self.decoder = 0.0
        plain = self.vae.fhat_to_img

        def timed(f_hat):
            wait()
            start = time.perf_counter()
            image = plain(f_hat)
            wait()
            self.decoder = time.perf_counter() - start
            return image

        self.vae.fhat_to_img = timed

    def __call__(self, request):
        with torch.inference_mode(), autocast():
            start = time.perf_counter()
            image = self.var.autoregressive_infer_cfg(
                B=len(self.labels), label_B=self.labels, g_seed=request["seed"], cfg=4, top_k=900, top_p=0.95
            )
            # What a caller needs: bytes on the host.
            image.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()
            return {"seconds": time.perf_counter() - start, "decoder": self.decoder}


class Train:
    def __init__(self, request):
        self.vae, self.var = build(request)
        self.request = request
        extra = {} if SMOKE else {"fused": True}
        self.optimizer = torch.optim.AdamW(self.var.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, **extra)

    def __call__(self, request):
        c, generator = self.request, torch.Generator(device=DEVICE).manual_seed(request["seed"])
        batch, length = c["batch"], sum(p * p for p in c["patchNums"])
        draw = {"generator": generator, "device": DEVICE}
        target, labels = torch.randint(4096, (batch, length), **draw), torch.randint(1000, (batch,), **draw)
        wait()
        start = time.perf_counter()
        with autocast():
            # From tokens, as the trainer goes on from the tokenizer.
            tokens = list(target.split([p * p for p in c["patchNums"]], dim=1))
            x = self.vae.quantize.idxBl_to_var_input(tokens)
            logits = self.var(labels, x)
            loss = F.cross_entropy(logits.view(-1, 4096).float(), target.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.var.parameters(), 2.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss.item()
        wait()
        return {"seconds": time.perf_counter() - start}


def main():
    print(json.dumps({"seconds": 0, "torch": torch.__version__}), flush=True)
    # The reference prints; stdout is for answers.
    out, sys.stdout = sys.stdout, sys.stderr
    job = None
    for line in sys.stdin:
        request, answer = json.loads(line), {"seconds": 0}
        if request["cmd"] == "open":
            try:
                if not os.environ.get("VAR_REPO"):
                    raise RuntimeError("VAR_REPO names no checkout of FoundationVision/VAR")
                job = (Generate if request["job"] == "generate" else Train)(request)
            except Exception as error:
                answer["missing"] = str(error).split("\n")[0]
        else:
            answer.update(job(request), peakBytes=peak())
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()

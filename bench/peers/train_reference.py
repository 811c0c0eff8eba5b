"""Serves training steps of the PyTorch reference to bench/peers/train.ts: one JSON request per line on stdin, one JSON answer per line on stdout.

VAR_REPO names a checkout of FoundationVision/VAR, which is imported as it is. Arguments: job (var | vqvae), threads, configuration as JSON. The request
{"cmd": "step", "seed": n} makes one step of forward, loss, backward, clipping and AdamW on random data and answers with its seconds.
"""
import json
import os
import resource
import sys
import time
import types


def reference():
    hub = types.ModuleType("huggingface_hub")
    hub.PyTorchModelHubMixin = type("PyTorchModelHubMixin", (), {"__init_subclass__": classmethod(lambda cls, **kw: None)})
    sys.modules.setdefault("huggingface_hub", hub)
    sys.path.insert(0, os.environ["VAR_REPO"])
    import models

    return models


def vqvae(models, c):
    vae = models.VQVAE(
        vocab_size=c["vocabSize"], z_channels=c["zChannels"], ch=c["ch"], test_mode=False, share_quant_resi=4, v_patch_nums=tuple(c["patchNums"])
    )
    return vae


def main():
    import torch
    import torch.nn.functional as F

    job, threads, c = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    torch.set_num_threads(threads)
    stdout, sys.stdout = sys.stdout, sys.stderr
    models = reference()
    # The quantizer's training forward asks for the size of the process group.
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    torch.manual_seed(0)
    vae = vqvae(models, c["vqvae"])
    if job == "var":
        v = c["var"]
        model = models.VAR(
            vae_local=vae, num_classes=v["numClasses"], depth=v["depth"], embed_dim=v["embedDim"], num_heads=v["numHeads"], drop_path_rate=0.0,
            attn_l2_norm=True, shared_aln=False, cond_drop_rate=0.0, patch_nums=tuple(c["vqvae"]["patchNums"]), flash_if_available=False, fused_if_available=False,
        )
        model.init_weights()
    else:
        model = vae
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    sys.stdout = stdout

    def var_loss(generator):
        batch, length = c["batch"], sum(p * p for p in c["vqvae"]["patchNums"])
        first = c["vqvae"]["patchNums"][0] ** 2
        vocab = c["vqvae"]["vocabSize"]
        target = torch.randint(vocab, (batch, length), generator=generator)
        x = torch.randn(batch, length - first, c["vqvae"]["zChannels"], generator=generator)
        labels = torch.randint(c["var"]["numClasses"], (batch,), generator=generator)
        logits = model(labels, x)
        loss = F.cross_entropy(logits.view(-1, vocab), target.view(-1), reduction="none").view(batch, -1)
        return loss.mul(1.0 / length).sum(dim=-1).mean()

    def vqvae_loss(generator):
        image = torch.rand(c["batch"], 3, c["reso"], c["reso"], generator=generator) * 2 - 1
        rec, _, vq = model(image)
        return F.mse_loss(rec, image) + vq

    print(json.dumps({"ready": True, "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        generator = torch.Generator().manual_seed(request["seed"])
        start = time.perf_counter()
        loss = (var_loss if job == "var" else vqvae_loss)(generator)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        answer = {"seconds": time.perf_counter() - start, "loss": loss.item(), "norm": norm.item()}
        answer["peakBytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

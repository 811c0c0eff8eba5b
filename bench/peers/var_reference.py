"""Serves the PyTorch reference of VAR to bench/peers/run.ts: one JSON request per line on stdin, one JSON answer per line on stdout.

VAR_REPO names a checkout of FoundationVision/VAR, which is imported as it is. Requests: {"cmd": "generate" | "decode" | "encode" | "argmax", ...}.
"""
import json
import os
import sys
import time
import types


def load(vae_path, var_path, depth, threads):
    import torch

    torch.set_num_threads(threads)
    # The reference imports a hub mixin that plays no part in inference.
    hub = types.ModuleType("huggingface_hub")
    hub.PyTorchModelHubMixin = type("PyTorchModelHubMixin", (), {"__init_subclass__": classmethod(lambda cls, **kw: None)})
    sys.modules.setdefault("huggingface_hub", hub)
    sys.path.insert(0, os.environ["VAR_REPO"])
    stdout, sys.stdout = sys.stdout, sys.stderr
    from models import build_vae_var

    vae, var = build_vae_var(device="cpu", patch_nums=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16), V=4096, Cvae=32, ch=160, depth=depth)
    # The reference's own load_state_dict needs torch 2.1 or newer; the base class serves older ones too.
    for model, path in ((vae, vae_path), (var, var_path)):
        torch.nn.Module.load_state_dict(model, torch.load(path, map_location="cpu"))
    sys.stdout = stdout
    return torch, vae.eval(), var.eval()


def generate(torch, vae, var, request):
    decoder = []
    plain = type(vae).fhat_to_img.__get__(vae)

    def timed(f_hat):
        start = time.perf_counter()
        image = plain(f_hat)
        decoder.append(time.perf_counter() - start)
        return image

    vae.fhat_to_img = timed
    start = time.perf_counter()
    labels = torch.tensor(request["labels"])
    image = var.autoregressive_infer_cfg(
        B=len(labels), label_B=labels, g_seed=request["seed"], cfg=request["cfg"], top_k=request["topK"], top_p=request["topP"]
    )
    total = time.perf_counter() - start
    return {"seconds": total, "decoder": decoder[0]}, image


def main():
    vae_path, var_path, depth, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch, vae, var = load(vae_path, var_path, depth, threads)
    print(json.dumps({"ready": True, "torch": torch.__version__}), flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            request = json.loads(line)
            answer = {}
            if request["cmd"] in ("generate", "argmax"):
                answer, image = generate(torch, vae, var, request)
                if "out" in request:
                    with open(request["out"], "wb") as file:
                        file.write(image.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy().tobytes())
            elif request["cmd"] == "decode":
                f_hat = torch.randn(1, 32, 16, 16)
                start = time.perf_counter()
                vae.fhat_to_img(f_hat)
                answer = {"seconds": time.perf_counter() - start}
            elif request["cmd"] == "encode":
                data = open(request["image"], "rb").read()
                image = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(1, 256, 256, 3).permute(0, 3, 1, 2).float().div(255)
                start = time.perf_counter()
                tokens = vae.img_to_idxBl(image.add(image).sub(1))
                answer = {"seconds": time.perf_counter() - start, "tokens": [t.flatten().tolist() for t in tokens]}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

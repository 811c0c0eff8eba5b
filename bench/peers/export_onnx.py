"""Exports the PyTorch reference of VAR for onnxruntime: decoder.onnx, encoder.onnx and blocks.onnx (all block stacks of one scale, with KV inputs).

VAR_REPO=<checkout of FoundationVision/VAR> python3 export_onnx.py VAE.pth VAR.pth DEPTH FOLDER. Needs PyTorch 1.13 (opset 14), no onnx package.
"""
import os
import sys

from var_reference import load


def export(torch, model, inputs, path, **names):
    with torch.inference_mode():
        torch.onnx.export(model, inputs, path, opset_version=14, do_constant_folding=True, **names)


def main():
    vae_path, var_path, depth, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    torch, vae, var = load(vae_path, var_path, depth, 2)

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.post, self.decoder = vae.post_quant_conv, vae.decoder

        def forward(self, f_hat):
            return self.decoder(self.post(f_hat)).clamp(-1, 1)

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.quant = vae.encoder, vae.quant_conv

        def forward(self, image):
            return self.quant(self.encoder(image))

    class Blocks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = var.blocks

        def forward(self, x, cond, past_k, past_v):
            keys, values = [], []
            for i, block in enumerate(self.blocks):
                block.attn.caching = True
                block.attn.cached_k, block.attn.cached_v = past_k[i], past_v[i]
                x = block(x=x, cond_BD=cond, attn_bias=None)
                keys.append(block.attn.cached_k)
                values.append(block.attn.cached_v)
            return x, torch.stack(keys), torch.stack(values)

    os.makedirs(folder, exist_ok=True)
    export(torch, Decoder().eval(), (torch.randn(1, 32, 16, 16),), os.path.join(folder, "decoder.onnx"), input_names=["f_hat"], output_names=["image"])
    export(torch, Encoder().eval(), (torch.randn(1, 3, 256, 256),), os.path.join(folder, "encoder.onnx"), input_names=["image"], output_names=["f"])
    heads, width = var.num_heads, var.C // var.num_heads
    past = torch.randn(depth, 2, heads, 5, width)
    export(
        torch,
        Blocks().eval(),
        (torch.randn(2, 9, var.C), torch.randn(2, var.D), past, past.clone()),
        os.path.join(folder, "blocks.onnx"),
        input_names=["x", "cond", "past_k", "past_v"],
        output_names=["y", "k", "v"],
        dynamic_axes={"x": {1: "l"}, "past_k": {3: "p"}, "past_v": {3: "p"}, "y": {1: "l"}, "k": {3: "n"}, "v": {3: "n"}},
    )


if __name__ == "__main__":
    main()

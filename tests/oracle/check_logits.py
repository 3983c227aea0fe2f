"""Compares a built `homespun` with transformers, and an adapter that it trained with PEFT.

    python check_logits.py HOMESPUN MODEL [--data FILE.jsonl] [--length 64] [--adapter DIR]

Without --data only the base (and the given adapter) is compared. Exits 1 if the logits differ by
more than 1e-4 of the largest, or if the trained adapter changes nothing.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

BAR = 1e-4


def ours(homespun, model, tokens, adapter, out):
    command = [homespun, "logits", "--model", model, "--out", out]
    command += ["--tokens", ",".join(map(str, tokens))]
    command += ["--adapter", adapter] if adapter else []
    subprocess.run(list(map(str, command)), check=True)
    return load_file(out)["logits"]


def theirs(model, tokens, adapter):
    net = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager"
    )
    if adapter:
        net = PeftModel.from_pretrained(net, adapter)
    with torch.no_grad():
        return net.eval()(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def compare(what, a, b):
    assert a.shape == b.shape and a.dtype == torch.float32, (a.shape, b.shape, a.dtype)
    error = ((a - b).abs().max() / b.abs().max()).item()
    same = (a.argmax(-1) == b.argmax(-1)).sum().item()
    print(f"{what}: max |d| / max {error:.2e}, same best token at {same} of {len(a)}")
    return error <= BAR


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("homespun", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--length", type=int, default=64)
    args = parser.parse_args()
    vocab = AutoModelForCausalLM.from_pretrained(args.model).config.vocab_size
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(vocab, (args.length,), generator=generator).tolist()
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "logits.safetensors"
        base = ours(args.homespun, args.model, tokens, None, out)
        good = compare("base", base, theirs(args.model, tokens, None))
        adapters = [args.adapter] if args.adapter else []
        if args.data:
            trained = Path(work) / "adapter"
            command = [args.homespun, "train", "--model", args.model, "--data", args.data]
            command += ["--out", trained, "--steps", 3, "--batch", 4, "--lr", 1e-2]
            command += ["--targets", "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"]
            subprocess.run(list(map(str, command)), check=True)
            adapters.append(trained)
        for adapter in adapters:
            with_adapter = ours(args.homespun, args.model, tokens, adapter, out)
            expected = theirs(args.model, tokens, adapter)
            good &= compare(f"adapter {adapter.name}", with_adapter, expected)
            moved = ((with_adapter - base).abs().max() / base.abs().max()).item()
            print(f"adapter {adapter.name}: moves the logits by {moved:.2e} of the largest")
            good &= moved > 10 * BAR
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

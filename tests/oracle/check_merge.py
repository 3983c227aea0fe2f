"""Compares `homespun merge` with PEFT's merge_and_unload.

    python check_merge.py HOMESPUN MODEL ADAPTER

Exits 1 if a tensor is missing, or one or the logits differ by more than 1e-5 of the largest.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

BAR = 1e-5


def load(model):
    return AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def apart(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def main():
    homespun, model, adapter = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "merged"
        command = [homespun, "merge", "--model", model, "--adapter", adapter, "--out", out]
        subprocess.run(list(map(str, command)) + ["--dtype", "f32"], check=True)
        ours = load(out)
    base = load(model)
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(base.config.vocab_size, (1, 64), generator=generator)
    with torch.no_grad():
        before = base(input_ids=tokens).logits
        theirs = PeftModel.from_pretrained(base, adapter).merge_and_unload()
        logits = [net(input_ids=tokens).logits for net in (ours, theirs)]
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    weight = max(apart(ours[name], theirs[name]) for name in theirs)
    error, moved = apart(*logits), apart(before, logits[1])
    print(f"weights {weight:.2e}, logits {error:.2e} of the largest; moved by {moved:.2e}")
    sys.exit(0 if max(weight, error) <= BAR and moved > 100 * BAR else 1)


if __name__ == "__main__":
    main()

"""Trains one adapter twice, by `homespun train` and by torch with PEFT, and compares.

    python check_train.py HOMESPUN MODEL DATA.jsonl [--steps 10] [--batch 4] [--micro-batch 3]
                          [--rslora] [--freeze-a] [--dora]

Both start from one random PEFT adapter (rank 4 on all seven projections, B not zero) and take the
dialogues in file order, wrapping round. Token ids and loss masks come from `homespun render`, whose
own parity render.py makes. Exits 1 if a loss differs by more than 1e-4, or if the trained adapters
give logits that differ by more than 1e-3 of the largest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from models import ALL, mean_loss


def load(model):
    return AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def run(*command):
    command = list(map(str, command))
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def rendered(args, work):
    """The first dialogues that are short enough and have a target: lines, ids, masks."""
    lines, ids, masks = [], [], []
    for line in args.data.read_text().splitlines():
        message = work / "dialogue.json"
        message.write_text(line)
        out = run(args.homespun, "render", "--model", args.model, "--messages", message, "--json")
        row = json.loads(out.splitlines()[-1])
        if any(row["mask"]) and len(row["ids"]) <= 200:
            lines.append(line)
            ids.append(torch.tensor(row["ids"]))
            masks.append(torch.tensor(row["mask"]).bool())
        if len(lines) == args.dialogues:
            return lines, ids, masks
    sys.exit(f"fewer than {args.dialogues} short dialogues")


def initial(args, folder):
    adapter = LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        target_modules=ALL,
        use_rslora=args.rslora,
        use_dora=args.dora,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(load(args.model), adapter)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.05)
    model.save_pretrained(folder)


def theirs(args, init, ids, masks):
    model = PeftModel.from_pretrained(load(args.model), init, is_trainable=True).eval()
    if args.freeze_a:
        for name, p in model.named_parameters():
            if "lora_A" in name:
                p.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.01)
    rows = []
    for step in range(args.steps):
        places = [(step * args.batch + i) % len(ids) for i in range(args.batch)]
        optimiser.zero_grad()
        loss = mean_loss(model, [ids[i] for i in places], [masks[i] for i in places])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        rows.append((loss.item(), norm.item()))
        optimiser.step()
    return model, rows


def ours(args, init, lines, work):
    data, log, out = work / "data.jsonl", work / "log.jsonl", work / "ours"
    data.write_text("\n".join(lines) + "\n")
    command = [args.homespun, "train", "--model", args.model, "--data", data, "--out", out]
    command += ["--init", init, "--dropout", 0, "--lr", args.lr, "--batch", args.batch]
    command += ["--micro-batch", args.micro_batch, "--steps", args.steps, "--weight-decay", 0.01]
    command += ["--clip", 1, "--no-shuffle", "--schedule", "constant", "--log", log]
    command += ["--freeze-a"] if args.freeze_a else []
    run(*command)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    model = PeftModel.from_pretrained(load(args.model), out).eval()
    return model, [(row["loss"], row["grad_norm"]) for row in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("homespun", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dialogues", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--rslora", action="store_true")
    parser.add_argument("--freeze-a", action="store_true")
    parser.add_argument("--dora", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        lines, ids, masks = rendered(args, work)
        initial(args, work / "init")
        their_model, their_rows = theirs(args, work / "init", ids, masks)
        our_model, our_rows = ours(args, work / "init", lines, work)
    assert len(our_rows) == len(their_rows), (len(our_rows), len(their_rows))
    loss = max(abs(a[0] - b[0]) for a, b in zip(our_rows, their_rows))
    norm = max(abs(a[1] / b[1] - 1) for a, b in zip(our_rows, their_rows))
    print(f"losses {their_rows[0][0]:.4f} to {their_rows[-1][0]:.4f}: max |d| {loss:.1e}")
    print(f"gradient norms: max |d| / norm {norm:.1e}")
    with torch.no_grad():
        a, b = (m(input_ids=ids[0][None]).logits for m in (our_model, their_model))
    logits = ((a - b).abs().max() / b.abs().max()).item()
    print(f"logits under the trained adapters: max |d| / max {logits:.1e}")
    sys.exit(0 if loss <= 1e-4 and logits <= 1e-3 else 1)


if __name__ == "__main__":
    main()

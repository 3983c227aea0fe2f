"""Compares the buffer that `homespun personalize` ends with to what the references would keep.

    python check_selection.py HOMESPUN MODEL DATA.jsonl... [--dialogues 500] [--bins 8 32] [--seeds 1 2]

Random, FIFO and K-Center over real dialogues, with the embeddings that `homespun score --states`
writes; a bin keeps them as f16. Nothing is trained: the person's answers are left in a queue. Exits 1
if a bin holds another arrival than selection.py says. `--plant` gives the references a bug.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from safetensors.numpy import load_file

import selection


def run(*command):
    command = list(map(str, command))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def stored(embedding):
    return embedding.astype(numpy.float16).astype(numpy.float32)


def expected(policy, embeddings, bins, seed, planted):
    if policy == "random":
        verdicts = selection.algorithm_r(len(embeddings), bins, seed + planted)
    elif policy == "fifo":
        verdicts = selection.fifo(len(embeddings) - planted, bins)
    else:
        verdicts = selection.k_center(embeddings ** 3 if planted else embeddings, bins, stored)
    held = {}
    for arrival, place in enumerate(verdicts):
        if place is not None:
            held[place] = arrival
    return held


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("homespun", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--bins", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--plant", action="store_true")
    args = parser.parse_args()
    rows = []
    for i, file in enumerate(args.data):
        share = args.dialogues * (i + 1) // len(args.data) - args.dialogues * i // len(args.data)
        rows += file.read_text(encoding="utf-8").splitlines()[:share]
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        stream, states = work / "stream.jsonl", work / "states.safetensors"
        stream.write_text("\n".join(rows), encoding="utf-8")
        model = ("--model", args.model, "--stream", stream, "--strict")
        scored = run(args.homespun, "score", *model, "--json-lines", "--states", states)
        assert len(scored) == len(rows) == args.dialogues
        embeddings = load_file(states)["embedding"]
        for policy in ("random", "fifo", "k-center"):
            for bins in args.bins:
                for seed in args.seeds:
                    state = work / f"{policy}-{bins}-{seed}"
                    run(args.homespun, "personalize", *model, "--state", state, "--policy", policy,
                        "--bins", bins, "--seed", seed, "--annotate", "queue", "--round", 10**6)
                    listed = run(args.homespun, "buffer", "--state", state, "list", "--json")
                    ours = {row["bin"]: row["arrival"] for row in listed}
                    theirs = expected(policy, embeddings, bins, seed, args.plant)
                    other = sorted(b for b in theirs.keys() | ours.keys() if ours.get(b) != theirs.get(b))
                    kept = sum(arrival >= bins for arrival in ours.values())
                    print(f"{policy}, {bins} bins, seed {seed}: {len(other)} of {bins} differ, "
                          f"{kept} came after the buffer was full" + f" {other[:5]}" * bool(other))
                    bad += bool(other)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

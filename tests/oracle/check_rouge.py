"""Compares a built `homespun rouge` with Google's rouge_score, pair by pair.

    python check_rouge.py HOMESPUN [--pairs 10000] [--seed 1] [--data FILE.jsonl ...] [--plant f32]

The pairs are rouge_pairs.py's under that seed, and with --data each reply of the dialogues beside
the reply before it and beside the same words in another order. Exits 1 if an F1 differs by more than
1e-12, and prints the pair. `--plant f32` rounds the expected figures to f32: the check must then fail.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from rouge_score import rouge_scorer

from rouge_pairs import pair

BAR = 1e-12


def replies(path):
    draw = random.Random(5)
    before = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        for message in json.loads(line)["messages"]:
            content = message["content"]
            yield before, content
            words = content.split(" ")
            draw.shuffle(words)
            yield content, " ".join(words[: 1 + len(words) * 3 // 4])
            before = content


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("homespun", type=Path)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--plant", choices=["f32"])
    args = parser.parse_args()
    pairs = [pair(args.seed, k) for k in range(args.pairs)]
    for path in args.data:
        pairs += replies(path)
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "pairs.jsonl"
        rows = (json.dumps({"reference": r, "candidate": c}) for r, c in pairs)
        file.write_text("\n".join(rows), encoding="utf-8")
        command = [args.homespun, "rouge", "--pairs", file]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ours = [json.loads(line)["rouge1"] for line in out.splitlines()]
    assert len(ours) == len(pairs), (len(ours), len(pairs))
    scorer = rouge_scorer.RougeScorer(["rouge1"], use_stemmer=False)
    theirs = [scorer.score(*one)["rouge1"].fmeasure for one in pairs]
    if args.plant == "f32":
        theirs = [float(numpy.float32(x)) for x in theirs]
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    bad = [k for k, (a, b) in enumerate(zip(ours, theirs)) if not abs(a - b) <= BAR]
    same = sum(a == b for a, b in zip(ours, theirs))
    print(f"{len(pairs)} pairs, {sum(x > 0 for x in theirs)} with a common word: "
          f"max |d| {worst:.1e}, {same} equal to the bit, {len(bad)} beyond {BAR:.0e}")
    for k in bad[:3]:
        print(f"pair {k}: ours {ours[k]!r}, theirs {theirs[k]!r}: {pairs[k]!r}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

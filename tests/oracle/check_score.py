"""Compares a built `homespun score` with the definitions over transformers' hidden states.

    python check_score.py HOMESPUN MODEL LEXICONS.tsv DATA.jsonl... [--dialogues 500] [--plant BUG]

The stream is made of the first dialogues of each file, equally many, file after file. Checked, and
exit 1 if one fails:
    tokens, domain, domain score    exactly
    dissimilarity                   within 1e-4
    entropy, given our own state    within 1e-9
    entropy, end to end             within 1e-4 for 80% of the dialogues; each of the others has
                                    components that changed bin, all of them within 1e-4 of the state's
                                    range of an edge, by states that differ by no more than that
`--plant` puts a bug into the expected figures, which must make the check fail.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from safetensors.numpy import load_file

import scores

PLANTS = ["natural-log", "no-plus-one", "101-bins", "last-embedding", "any-domain", "no-lower-case"]


def stream_of(files, count):
    rows = []
    for i, file in enumerate(files):
        take = count * (i + 1) // len(files) - count * i // len(files)
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert len(lines) >= take, f"{file}: {len(lines)} dialogues, {take} wanted"
        rows += [json.loads(line) for line in lines[:take]]
    return [{"messages": row["messages"]} for row in rows]


def ours(args, stream):
    with tempfile.TemporaryDirectory() as work:
        file, states = Path(work) / "stream.jsonl", Path(work) / "states.safetensors"
        file.write_text("\n".join(map(json.dumps, stream)), encoding="utf-8")
        command = [args.homespun, "score", "--model", args.model, "--stream", file, "--strict"]
        command += ["--lexicons", args.lexicons, "--json-lines", "--states", states]
        command += ["--isa", args.isa] if args.isa else []
        run = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
        rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        assert len(rows) == len(stream), (len(rows), len(stream))
        return rows, load_file(states)


def plant(bug, rows):
    """Puts the bug into the expected rows and gives the entropy to expect of a given state."""
    entropy = {
        "natural-log": lambda state, n: scores.histogram_entropy(state, n, log=math.log),
        "no-plus-one": lambda state, n: scores.histogram_entropy(state, max(n, 2), extra=0),
        "101-bins": lambda state, n: scores.histogram_entropy(state, n, bins=101),
    }.get(bug, scores.histogram_entropy)
    earlier = {}
    for row in rows:
        row["entropy"] = entropy(row["last"], row["tokens"])
        if bug in ("last-embedding", "any-domain"):
            domain = "all" if bug == "any-domain" else row["domain"]
            peers = earlier.setdefault(domain, [])
            mine = row["last"] if bug == "last-embedding" else row["embedding"]
            row["dissimilarity"] = scores.dissimilarity(mine, peers)
            peers.append(mine)
    return entropy


def explained(a, b):
    """How many components fell into another bin, and whether rounding of the states explains it."""
    a, b = numpy.asarray(a, dtype=numpy.float64), numpy.asarray(b, dtype=numpy.float64)
    span = b.max() - b.min()
    moved = scores.bins_of(a) != scores.bins_of(b)
    edges = numpy.linspace(b.min(), b.max(), scores.BINS + 1)
    gap = numpy.abs(b[:, None] - edges[None, :]).min(axis=1)
    near = numpy.abs(a - b).max() <= 1e-4 * span and (gap[moved] <= 1e-4 * span).all()
    return int(moved.sum()), bool(near and moved.any())


def main():
    parser = argparse.ArgumentParser()
    for name in ("homespun", "model", "lexicons"):
        parser.add_argument(name, type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--isa")
    parser.add_argument("--plant", choices=PLANTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    stream = stream_of(args.data, args.dialogues)
    mine, states = ours(args, stream)
    if args.plant == "no-lower-case":
        small = scores.words
        scores.words = lambda text: small("".join(" " if c.isupper() else c for c in text))
    lexicons = scores.read_lexicons(args.lexicons)
    theirs = scores.score_stream(scores.Model(args.model), stream, lexicons)
    entropy = plant(args.plant, theirs)

    bad, worst = [], {"domain score": 0.0, "dissimilarity": 0.0, "given the state": 0.0, "states": 0.0}

    def expect(k, what, good, detail):
        if not good:
            bad.append(f"dialogue {k}: {what}: {detail}")

    within, jumps, largest = 0, [], 0.0
    for k, (a, b) in enumerate(zip(mine, theirs)):
        for key in ("tokens", "domain", "domain_score"):
            expect(k, key, a[key] == b[key], f"ours {a[key]!r}, theirs {b[key]!r}")
        worst["domain score"] = max(worst["domain score"], abs(a["domain_score"] - b["domain_score"]))
        d = abs(a["dissimilarity"] - b["dissimilarity"])
        worst["dissimilarity"] = max(worst["dissimilarity"], d)
        expect(k, "dissimilarity", d <= 1e-4, f"ours {a['dissimilarity']}, theirs {b['dissimilarity']}")
        given = abs(a["entropy"] - entropy(states["last"][k], a["tokens"]))
        worst["given the state"] = max(worst["given the state"], given)
        expect(k, "entropy given the state", given <= 1e-9, f"{given:.1e} apart")
        span = max(float(b["last"].max() - b["last"].min()), 1e-30)
        worst["states"] = max(worst["states"], float(numpy.abs(states["last"][k] - b["last"]).max()) / span)
        apart = abs(a["entropy"] - b["entropy"])
        if apart <= 1e-4:
            within += 1
            continue
        largest = max(largest, apart)
        moved, good = explained(states["last"][k], b["last"])
        jumps.append(moved)
        expect(k, "entropy", good, f"{apart:.1e} apart, {moved} components changed bin")
    share = within / len(stream)
    expect("all", "entropy end to end", share >= 0.8, f"{share:.1%} within 1e-4")
    domains = {row["domain"] for row in theirs}
    print(f"{len(stream)} dialogues, {sum(row['tokens'] for row in theirs)} tokens, {len(domains)} domains")
    print("worst: " + ", ".join(f"{key} {value:.1e}" for key, value in worst.items()))
    print(f"entropy end to end: {within} within 1e-4 ({share:.1%}), {len(jumps)} by components that "
          f"changed bin ({max(jumps, default=0)} at most, by {largest:.1e} at most)")
    print("\n".join([f"{len(bad)} failures"] + bad[:5]))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

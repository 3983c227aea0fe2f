#!/usr/bin/env python3
"""Cycles of the inner loops of the Arm kernels by llvm-mca, for a core like Cortex-A76 and A78.

    cargo rustc --emit asm  ->  functions of neon:: and dotprod::  ->  loops of one basic block
    llvm-mca -mcpu=neoverse-n1  ->  cycles per iteration  ->  multiplications done / possible

A static model, not a measurement: loads are taken to hit the L1 cache, branches to be free.
Neoverse N1 is Cortex-A76's sibling; the models of the Cortex cores themselves are less detailed.
Needs rustup's target aarch64-unknown-linux-musl and llvm-mca 15 or later (Debian: llvm-19), which
--mca names. Prints Markdown.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

TARGET = "aarch64-unknown-linux-musl"
# Multiplying instructions, and how many of each the core starts in a cycle at the most: both vector
# pipelines multiply f32 and take dot products, one of them multiplies integers.
PEAK = {"sdot": 2.0, "smull": 1.0, "smull2": 1.0, "smlal": 1.0, "smlal2": 1.0, "fmla": 2.0}
INTEGER = ["sdot", "smull", "smull2", "smlal", "smlal2"]


def assembly(root):
    """The kernels' assembly, optimised, as one file."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "kernels.s"
        subprocess.run(
            ["cargo", "rustc", "-q", "--release", "-p", "homespun-kernels", "--lib"]
            + ["--target", TARGET, "--", f"--emit=asm={out}", "-C", "codegen-units=1"],
            cwd=root,
            check=True,
        )
        return out.read_text()


def path_of(symbol):
    """The Rust path in a mangled name, without the crate and the hash."""
    parts, rest = [], symbol.removeprefix("_ZN")
    while match := re.match(r"(\d+)", rest):
        start, length = match.end(), int(match.group())
        parts.append(rest[start : start + length])
        rest = rest[start + length :]
    return "::".join(parts[1:-1])


def functions(text):
    """Name and lines of each function of the two tables."""
    for match in re.finditer(r"^(_ZN\S+):$(.*?)^\.Lfunc_end", text, re.M | re.S):
        path = path_of(match.group(1))
        if path.startswith(("neon::", "dotprod::")):
            yield path, match.group(2).splitlines()


def loops(lines):
    """Runs of instructions from a label to a branch back to it, no other label between; branches
    that leave a loop, for instance to a panic, are kept."""
    label, block = None, []
    for line in lines:
        line = line.split("//")[0].strip()
        if match := re.match(r"\.(LBB\w+):", line):
            label, block = match.group(1), []
        elif line and not line.startswith("."):
            block.append(line)
            if label and is_branch(line) and re.search(rf"\b{re.escape(label)}$", line):
                yield block
                label = None


def is_branch(line):
    return re.match(r"(b\.?\w*|cbn?z|tbn?z)\s", line)


def count(block):
    """How often each instruction occurs."""
    counts = {}
    for line in block:
        name = line.split()[0]
        counts[name] = counts.get(name, 0) + 1
    return counts


def cycles(block, mca, cpu):
    """Cycles of an iteration in the long run."""
    iterations = 200
    source = "\n".join(["nop" if is_branch(line) else line for line in block])
    run = subprocess.run(
        [mca, "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod", f"-iterations={iterations}"]
        + ["--instruction-info=0", "--resource-pressure=0"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(re.search(r"Total Cycles:\s+(\d+)", run.stdout).group(1)) / iterations


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mca", default="llvm-mca-19", help="the program llvm-mca")
    parser.add_argument("--cpu", default="neoverse-n1", help="the core to model")
    parser.add_argument("--asm", help="a file of assembly to read instead of building")
    parser.add_argument("--least", type=int, default=8, help="ignore loops that multiply less")
    options = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    text = pathlib.Path(options.asm).read_text() if options.asm else assembly(root)
    rows = []
    for path, lines in functions(text):
        for block in loops(lines):
            counts = count(block)
            work = {name: n for name, n in counts.items() if name in PEAK}
            # A loop of integers ends in a few f32 operations a block: they are not its work.
            kinds = [name for name in work if name in INTEGER] or list(work)
            multiplies = sum(work[name] for name in kinds)
            if multiplies < options.least:
                continue
            least = sum(work[name] / PEAK[name] for name in kinds)
            spent = cycles(block, options.mca, options.cpu)
            names = "+".join(sorted({name.rstrip("2") for name in kinds}))
            rows.append((path, multiplies, names, len(block), spent, 100 * least / spent))
    print("| loop | multiplies | instructions | cycles | of peak |")
    print("|---|---|---|---|---|")
    for path, multiplies, names, instructions, spent, peak in sorted(rows):
        print(
            f"| `{path}` | {multiplies} {names} | {instructions} | {spent:.1f} | {peak:.0f}% |"
        )


if __name__ == "__main__":
    main()

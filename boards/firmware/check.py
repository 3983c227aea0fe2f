#!/usr/bin/env python3
"""Builds every firmware, holds it to its board's size budget, and runs those that QEMU can run.

    python3 boards/firmware/check.py [--cuts N] [BOARD ...]

Each is started twice with `selftest`, told to panic and to overflow its stack, and then N times killed while
it writes its flash; after each of these it must start and find what it had. The command is the runner of
the board's config.toml.
"""
import argparse
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 60


def sizes(elf):
    """Bytes of flash and of RAM that the sections of an ELF file take."""
    data = elf.read_bytes()
    wide = data[4] == 2
    at, = struct.unpack_from("<Q" if wide else "<I", data, 40 if wide else 32)
    step, count = struct.unpack_from("<HH", data, 58 if wide else 46)
    code = ram = 0
    for section in range(at, at + step * count, step):
        fields = struct.unpack_from("<IIQQQQ" if wide else "<IIIIII", data, section)
        kind, flags, size = fields[1], fields[2], fields[5]
        if flags & 2:  # it takes memory
            code += size if kind != 8 else 0  # it is not zeros only
            ram += size if flags & 1 else 0  # it is written
    return code, ram


class Machine:
    """A firmware in QEMU, in a folder of its own with erased flash."""

    def __init__(self, config, elf, folder):
        target, = config["target"].values()
        self.command, self.folder = [*target["runner"], str(elf)], folder
        if any("flash.img" in word for word in self.command):
            (folder / "flash.img").write_bytes(b"\xff" * (64 << 20))

    def start(self):
        pipe, out = subprocess.PIPE, subprocess.STDOUT
        return subprocess.Popen(self.command, cwd=self.folder, stdin=pipe, stdout=pipe, stderr=out)

    def run(self, line, code):
        """What it prints, given a first line; it must end with `code`."""
        process = self.start()
        try:
            text = process.communicate(line.encode() + b"\n", timeout=SECONDS)[0].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            sys.exit(f"{line}: no end after {SECONDS} s:\n{process.communicate()[0].decode()}")
        if process.returncode != code:
            sys.exit(f"{line}: ended with {process.returncode}, not {code}:\n{text}")
        return text

    def cut(self, marks, delay):
        """Kills it after so many marks and a while: whether it lived until then, and whether it was within a
        write or an erase."""
        process = self.start()
        process.stdin.write(b"selftest marks\n")
        process.stdin.close()
        for line in process.stdout:
            marks -= line.startswith(b"[")
            if marks == 0:
                time.sleep(delay)
                process.kill()
                break
        rest = process.stdout.read()
        killed = process.wait() < 0
        return killed, killed and b"]" not in rest


def number(text, name):
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def check(machine, cuts):
    for boots in (1, 2):
        text = machine.run("selftest", 0)
        assert number(text, "boots") == boots, text
    print(text, end="")
    assert "panicked" in machine.run("panic", 101)
    assert "fault" in machine.run("overflow", 70) or "no memory" in machine.run("overflow", 70)
    assert "more than" in machine.run("x" * 5000, 1)
    assert "first line" in machine.run("", 1)
    random.seed(1)
    samples, boots, killed, within = number(text, "sample "), 2, 0, 0
    for _ in range(cuts):
        hit = machine.cut(random.randint(1, 6), random.choice([0, 0.002 * random.random()]))
        killed, within = killed + hit[0], within + hit[1]
        text = machine.run("selftest", 0)
        before, now = (samples, boots), (number(text, "sample "), number(text, "boots"))
        assert before[0] < now[0] <= before[0] + 2 and before[1] < now[1] <= before[1] + 2, text
        samples, boots = now
    print(f"killed {killed} times of {cuts}, {within} of them within a write or an erase")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=10, help="how often the power is cut")
    parser.add_argument("boards", nargs="*", metavar="BOARD", help="all, if none is named")
    args = parser.parse_args()
    listed = ["cargo", "run", "-q", "-p", "homespun-boards", "--example", "firmwares"]
    for line in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
        name, target, runs, *budget = line.split()
        if args.boards and name not in args.boards:
            continue
        config = ROOT / "boards" / name / "config.toml"
        manifest = ROOT / "boards" / name / "firmware/Cargo.toml"
        build = ["cargo", "build", "-q", "--release", "--locked", "--config", config]
        subprocess.run([*build, "--manifest-path", manifest], cwd=ROOT, check=True)
        binary = f"homespun-{name.replace('_', '-')}"
        elf = ROOT / "target/firmware" / target / "release" / binary
        (code, ram), budget = sizes(elf), [int(word) for word in budget]
        print(f"\n== {name}: code {code} of {budget[0]} bytes, RAM {ram} of {budget[1]}", flush=True)
        if code > budget[0] or ram > budget[1]:
            sys.exit(f"{name}: over its budget")
        if runs == "true":
            with tempfile.TemporaryDirectory() as folder:
                settings = tomllib.loads(config.read_text())
                check(Machine(settings, elf, pathlib.Path(folder)), args.cuts)


main()

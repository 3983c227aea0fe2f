#!/usr/bin/env python3
"""Builds every firmware, holds it to its board's size budget, and runs those that QEMU can run.

    python3 boards/firmware/check.py [--host target/release/homespun] [--cuts N] [BOARD ...]

Each is started twice with `selftest`, told to panic and to overflow its stack. Given the host's program, it
packs the built-in model, and lets each board do the mission beside the host; those whose flash is a chip are
N times killed while they write it: see live.py. The command is the runner of the board's config.toml.
"""
import argparse
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import tomllib

import live

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 300


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

    def __init__(self, config, elf, folder, image, weights_at):
        target, = config["target"].values()
        self.command, self.folder = [*target["runner"], str(elf)], folder
        self.has_chip = any("flash.img" in word for word in self.command)
        self.image = image
        if image and not self.has_chip:
            loader = f"loader,file={image},addr={weights_at},force-raw=on"
            self.command[1:1] = ["-device", loader]
        self.erase()

    def erase(self):
        """Blank flash, but for the weights where they lie in the same chips."""
        if self.has_chip:
            weights = self.image.read_bytes() if self.image else b""
            blank = b"\xff" * ((64 << 20) - len(weights))
            (self.folder / "flash.img").write_bytes(weights + blank)
        else:
            (self.folder / "flash.bin").unlink(missing_ok=True)

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


def number(text, name):
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def check(machine, setting, host, image, folder, cuts):
    for boots in (1, 2):
        text = machine.run("selftest", 0)
        assert number(text, "boots") == boots, text
    print(text, end="")
    assert "panicked" in machine.run("panic", 101)
    assert "fault" in machine.run("overflow", 70) or "no memory" in machine.run("overflow", 70)
    assert "more than" in machine.run("x" * 5000, 1)
    assert "first line" in machine.run("", 1)
    if not image:
        assert "no image" in machine.run("live", 1)
        return
    machine.erase()
    live.same(machine, host, image, folder, setting)
    if machine.has_chip and cuts:
        machine.erase()
        within = live.cuts(machine, cuts)
        print(f"killed {cuts} times, {within} of them within a write or an erase: nothing was lost")


def build(name, target, features):
    """The program of a board, in a place of its own."""
    config = ROOT / "boards" / name / "config.toml"
    manifest = ROOT / "boards" / name / "firmware/Cargo.toml"
    command = ["cargo", "build", "-q", "--release", "--locked", "--config", config]
    # One folder each, so that two of these can build at once.
    place = ROOT / "target/firmware" / name
    command += ["--target-dir", place, "--manifest-path", manifest]
    command += ["--features", features] if features else []
    subprocess.run(command, cwd=ROOT, check=True)
    output = place / target / "release"
    elf = output / f"homespun-{name.replace('_', '-')}"
    return elf.rename(output / f"{elf.name}-{features}") if features else elf


def need(command, package):
    if not shutil.which(command):
        sys.exit(f"check: {command} is missing; install it (Debian: apt install {package})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", type=pathlib.Path, help="the program `homespun` of this machine")
    parser.add_argument("--cuts", type=int, default=10, help="how often the power is cut")
    parser.add_argument("boards", nargs="*", metavar="BOARD", help="all, if none is named")
    args = parser.parse_args()
    need("cargo", "rustup, then rustup toolchain install stable")
    listed = ["cargo", "run", "-q", "-p", "homespun-boards", "--example", "firmwares"]
    boards = [line.split() for line in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()]
    unknown = set(args.boards) - {board[0] for board in boards}
    if unknown:
        sys.exit(f"check: no firmware is of {', '.join(unknown)}")
    installed = subprocess.check_output(["rustup", "target", "list", "--installed"], text=True).split()
    with tempfile.TemporaryDirectory() as folder:
        folder, image, host = pathlib.Path(folder), None, None
        if args.host:
            image, host = folder / "builtin.img", args.host.resolve()
            command = [host, "pack", "--model", "builtin", "--dtype", "q8", "--out", image]
            subprocess.run(command, check=True)
        for name, target, runs, weights_at, variants, *budget in boards:
            if args.boards and name not in args.boards:
                continue
            if target not in installed:
                sys.exit(f"check: the Rust target {target} is missing: rustup target add {target}")
            for features, setting in (pair.split("=") for pair in variants.split(",")):
                elf = build(name, target, features)
                title = f"{name} {features}".strip()
                (code, ram), budgets = sizes(elf), [int(word) for word in budget]
                print(f"\n== {title}: code {code} of {budgets[0]} bytes, RAM {ram} of {budgets[1]}", flush=True)
                if code > budgets[0] or ram > budgets[1]:
                    sys.exit(f"{title}: over its budget")
                if runs == "true":
                    settings = tomllib.loads((ROOT / "boards" / name / "config.toml").read_text())
                    need(next(iter(settings["target"].values()))["runner"][0], "qemu-system-arm")
                    place = folder / title.replace(" ", "-")
                    place.mkdir()
                    machine = Machine(settings, elf, place, image, weights_at)
                    check(machine, setting, host, image, place, args.cuts)


main()

#!/usr/bin/env bash
# Builds the library and the C program, and runs it on an image: run.sh IMAGE (made by `homespun pack`).
set -euo pipefail
image=$(realpath "${1:?usage: run.sh IMAGE}")
cd "$(dirname "$0")/.."
cc=${CC:-cc}
command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
command -v "$cc" >/dev/null || { echo "$cc is missing: sudo apt-get install gcc libc6-dev" >&2; exit 1; }

cargo build -q --release
out=${CARGO_TARGET_DIR:-target}/c
mkdir -p "$out"
build() {
    "$cc" -std=c99 -Wall -Wextra -Werror -pedantic -O2 "${@:2}" example/main.c \
        "${CARGO_TARGET_DIR:-target}/release/libhomespun_c.a" -Wl,--gc-sections -o "$out/$1"
}
build example
size "$out/example"
"$out/example" "$image"
if build sanitized -g -fsanitize=address,undefined -fno-sanitize-recover=all 2>"$out/sanitized.log"; then
    "$out/sanitized" "$image" | tail -1
else
    echo "SKIPPED with sanitizers: $cc cannot link them ($out/sanitized.log)"
fi

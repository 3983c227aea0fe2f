#!/usr/bin/env bash
# What every change must pass, on a fresh machine with Rust and a C linker. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."

# Nothing is built twice from the same sources here.
export CARGO_INCREMENTAL=0

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# need COMMAND PACKAGE...: installs the packages unless the command is there.
need() {
    command -v "$1" >/dev/null && return
    as_root apt-get update -qq
    as_root apt-get install -y -qq --no-install-recommends "${@:2}"
}

step "tools"
rustup component add rustfmt clippy
rustup target add aarch64-unknown-linux-musl aarch64-unknown-none thumbv7em-none-eabihf \
    thumbv8m.main-none-eabihf
need qemu-aarch64 qemu-user
need qemu-system-aarch64 qemu-system-arm
need python3 python3
need cc gcc
# Where there is no browser to be had the page is left out, and said so.
need chromium chromium || true
need npm nodejs npm || true

step "format"
cargo fmt --all --check

step "clippy"
cargo clippy --workspace --all-targets -- -D warnings

step "no_std"
# One crate and one target at a time: a workspace build would unify features.
for target in thumbv7em-none-eabihf aarch64-unknown-none; do
    for crate in kernels core boards runtime; do
        cargo build -q -p "homespun-$crate" --no-default-features --target "$target"
    done
done
cargo build -q -p homespun-runtime --example firmware --no-default-features --target thumbv7em-none-eabihf
(cd runtime/c && cargo check -q --locked --target thumbv7em-none-eabihf)

step "tests"
cargo test --workspace

step "miri: scalar kernels, packing, tiles and chunks"
# Only where no nightly toolchain can be had is this left out, and said so.
if cargo +nightly miri --version ||
    rustup toolchain install nightly --profile minimal --component miri --component rust-src; then
    cargo +nightly miri test -p homespun-kernels --lib
else
    echo "SKIPPED: no nightly toolchain with miri is installed, and none could be fetched"
fi

step "docs"
RUSTDOCFLAGS="-D warnings" cargo doc -q --workspace --no-deps

step "NEON kernels under qemu-aarch64"
# Once with all that QEMU has, once as a Pi 5, once as a Pi 4, which has no dot products.
arm=aarch64-unknown-linux-musl
arm_cargo() {
    local command=$1 cpu=$2
    shift 2
    cargo "$command" --config "target.$arm.runner=['qemu-aarch64', '-cpu', '$cpu']" --target $arm "$@"
}
for cpu in max cortex-a76 cortex-a72; do
    arm_cargo test $cpu -p homespun-kernels --lib
done

step "what each CPU is given, and what it can execute"
arm_cargo build max -p homespun-kernels --example tables
tables=${CARGO_TARGET_DIR:-target}/$arm/debug/examples/tables
# Read whole before it is searched: a reader that stops early would break the pipe.
for cpu in max cortex-a76; do
    listed=$(qemu-aarch64 -cpu $cpu "$tables" --sdot)
    grep -qx dotprod <<<"$listed"
done
listed=$(qemu-aarch64 -cpu cortex-a72 "$tables")
if grep -qx dotprod <<<"$listed"; then
    echo "a CPU without dot products got their table" && exit 1
fi
status=0
qemu-aarch64 -cpu cortex-a72 "$tables" --sdot || status=$?
[ $status = 132 ] || { echo "sdot on a CPU without it: $status, not SIGILL" && exit 1; }

step "the first command"
# With the program that the tests built, and not once more for speed: it does the same.
homespun=${CARGO_TARGET_DIR:-target}/debug/homespun
"$homespun" demo --quick --json

step "C, and a firmware of one's own"
# Without the feature std, as a firmware has it; the header is held against the source.
image=$(mktemp)
"$homespun" pack --model builtin --dtype q8 --out "$image"
cargo run -q -p homespun-runtime --example firmware_on_host --no-default-features -- "$image"
(
    cd runtime/c
    cargo fmt --check
    HOMESPUN_IMAGE=$image cargo test -q --locked -- --include-ignored
    example/run.sh "$image"
)
rm "$image"

step "firmwares, in QEMU beside the host"
logs=$(mktemp -d)
check() { python3 boards/firmware/check.py --host "$homespun" --cuts 8 "$@"; }
check virt_a76 >"$logs/virt" 2>&1 & virt=$!
status=0
check mps2_an386 rp2350 || status=$?
wait $virt || status=$?
cat "$logs/virt"
[ $status = 0 ] || exit $status

step "the suite and the demo under qemu-aarch64"
HOMESPUN=$homespun tests/arm.sh

step "the page, in Chromium"
SKIP=1 tests/page/run.sh "$homespun"

step "done"

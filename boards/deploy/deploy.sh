#!/usr/bin/env bash
# Builds for a board, copies the binary and the systemd unit there, and has it looked over and timed.
#   boards/deploy/deploy.sh BOARD [USER@]HOST      BOARD: a folder of boards/, such as pi5
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-musl

fail() { echo "deploy: $1" >&2; exit 1; }

[ $# = 2 ] || fail "boards/deploy/deploy.sh BOARD [USER@]HOST"
board=$1 host=$2
config=boards/$board/config.toml
[ -f "$config" ] || fail "there is no board $board: no $config"
need() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }
need ssh "apt-get install openssh-client"
need scp "apt-get install openssh-client"
need cargo "https://rustup.rs"
need cc "apt-get install gcc"
[ -d "$(rustc --print target-libdir --target $target)" ] ||
    fail "the target is missing: rustup target add $target"

cargo build --release -p homespun-runtime --config "$config" --target $target
binary=${CARGO_TARGET_DIR:-target}/$target/release/homespun

# Beside what is there, then in its place: who runs it goes on with the old one.
scp -q "$binary" "$host:homespun.new"
scp -q boards/deploy/homespun.service "$host:homespun.service"
ssh "$host" "mv homespun.new homespun && ./homespun --version && ./homespun doctor --board $board"
ssh "$host" "./homespun bench --model builtin --train"
echo "homespun and homespun.service lie in the home of $host; the head of homespun.service says how to install them"

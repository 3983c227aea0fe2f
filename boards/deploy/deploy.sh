#!/usr/bin/env bash
# Builds for a board, copies the binary and the systemd unit there, and has it looked over and timed.
#   boards/deploy/deploy.sh BOARD [USER@]HOST      BOARD: pi5, pi4 or jetson_orin
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-musl

fail() { echo "deploy: $1" >&2; exit 1; }

[ $# = 2 ] || fail "boards/deploy/deploy.sh BOARD [USER@]HOST"
board=$1 host=$2
config=boards/$board/config.toml
[ -f "$config" ] || fail "there is no board $board: no $config"
command -v ssh >/dev/null || fail "install ssh (Debian: openssh-client)"
rustup target list --installed | grep -qx $target || fail "install the target: rustup target add $target"

cargo build --release --config "$config" --target $target
binary=${CARGO_TARGET_DIR:-target}/$target/release/homespun

# Beside what is there, then in its place: who runs it goes on with the old one.
scp -q "$binary" "$host:homespun.new"
scp -q boards/deploy/homespun.service "$host:homespun.service"
ssh "$host" "mv homespun.new homespun && ./homespun --version && ./homespun doctor --board $board"
ssh "$host" "./homespun bench --model builtin --train"
echo "homespun and homespun.service lie in the home of $host; the head of homespun.service says how to install them"

#!/usr/bin/env bash
# Drives the server's page in headless Chromium: against a mock of the server with planted faults, then
# against the real one with its built-in model, of the given binary or one that it builds. Where Node.js or
# Chromium is missing it fails; with SKIP=1 it only says so.
#   tests/page/run.sh [BINARY]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

missing() {
    echo "SKIPPED the page's check: install $1"
    if [ "${SKIP:-0}" = 1 ]; then exit 0; else exit 1; fi
}
has() { command -v "$1" >/dev/null; }
{ has node && has npm; } || missing "Node.js 20 or newer with npm (Debian: nodejs npm)"
has chromium || has chromium-browser || has google-chrome || missing "Chromium (Debian: chromium)"

if [ $# -gt 0 ]; then
    binary=$(realpath "$1")
else
    cargo build -q --release --manifest-path "$root/Cargo.toml" -p homespun-runtime
    binary=${CARGO_TARGET_DIR:-$root/target}/release/homespun
fi

cd "$root/tests/page"
npm ci --silent
echo "the page against a mock"
node check_page.mjs --faults
echo "the page against the server"
node check_page.mjs --binary "$binary"

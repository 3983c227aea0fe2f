#!/usr/bin/env bash
# Makes a Debian package for 64-bit Arm: the binary, the systemd unit, the manual and completions.
#   boards/deploy/deb.sh [FOLDER]      writes FOLDER/homespun_VERSION_arm64.deb [default: target/debian]
#   BINARY=PATH                        packs that one, and builds none
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-musl

fail() { echo "deb: $1" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

need dpkg-deb "apt-get install dpkg"
# The manual and the completions are written by the binary itself.
run=()
if [ "$(uname -m)" != aarch64 ]; then
    need qemu-aarch64 "apt-get install qemu-user"
    run=(qemu-aarch64)
fi
built=${CARGO_TARGET_DIR:-target}
if [ -z "${BINARY:-}" ]; then
    need cargo "https://rustup.rs"
    need cc "apt-get install gcc"
    [ -d "$(rustc --print target-libdir --target $target)" ] ||
        fail "the target is missing: rustup target add $target"
    cargo build --release -p homespun-runtime --target $target
    BINARY=$built/$target/release/homespun
fi
[ -f "$BINARY" ] || fail "there is no $BINARY"
homespun() { "${run[@]}" "$BINARY" "$@"; }

version=$(homespun --version | cut -d' ' -f2)
to=${1:-$built/debian}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
umask 022

put() { install -Dm "$1" "$2" "$root/$3"; }
put 755 "$BINARY" usr/bin/homespun
mkdir -p "$root/usr/lib/systemd/system" "$root/usr/lib/sysusers.d" "$root/usr/share/doc/homespun"
# What the head of the unit says to do is what this package does.
sed -e '/^#   /d; /^#$/d; s|/usr/local/bin/|/usr/bin/|' boards/deploy/homespun.service \
    >"$root/usr/lib/systemd/system/homespun.service"
echo 'u homespun - "Homespun" /var/lib/homespun' >"$root/usr/lib/sysusers.d/homespun.conf"
homespun man "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
mkdir -p "$root"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
homespun completions bash >"$root/usr/share/bash-completion/completions/homespun"
homespun completions zsh >"$root/usr/share/zsh/vendor-completions/_homespun"
homespun completions fish >"$root/usr/share/fish/vendor_completions.d/homespun.fish"
cat LICENSE-MIT LICENSE-APACHE >"$root/usr/share/doc/homespun/copyright"
put 644 README.md usr/share/doc/homespun/README.md

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: homespun
Version: $version
Architecture: arm64
Maintainer: The Homespun authors <homespun@localhost>
Installed-Size: $(du -sk --exclude DEBIAN "$root" | cut -f1)
Recommends: systemd
Section: utils
Priority: optional
Description: language model that learns its user, on the device
 Reads dialogues, keeps the most telling ones in a small buffer in flash, asks
 now and then what reply would have been better, and fine-tunes a LoRA adapter
 on the CPU. Nothing leaves the device.
CONTROL
# Not started: it needs a model first, in /usr/local/share/homespun/model.
cat >"$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
[ "$1" = configure ] && [ -d /run/systemd/system ] || exit 0
systemd-sysusers homespun.conf
systemctl daemon-reload
systemctl try-restart homespun.service
POSTINST
# What it learned, in /var/lib/homespun, stays.
cat >"$root/DEBIAN/prerm" <<'PRERM'
#!/bin/sh
set -e
[ "$1" = remove ] && [ -d /run/systemd/system ] || exit 0
systemctl disable --now homespun.service
PRERM
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"

mkdir -p "$to"
dpkg-deb --root-owner-group -Zxz --build "$root" "$to/homespun_${version}_arm64.deb"

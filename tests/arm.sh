#!/usr/bin/env bash
# The tests on 64-bit Arm, in qemu-aarch64, and the quick demo there against the one here.
#   tests/arm.sh            what CI runs: core, boards, the quick demo
#   tests/arm.sh --runtime  the library tests of runtime too, but for the slow ones: some minutes more
#   tests/arm.sh --all      every test, the integration tests too: about an hour
#   CPU=max tests/arm.sh    as another CPU than a Pi 5's
#   HOMESPUN=PATH           the binary of this machine to compare with [default: it is built]
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-musl
cpu=${CPU:-cortex-a76}

# Run with --all alone: each takes from ten seconds to ten minutes here, and most are of no architecture.
skip=(
    # Flash simulated byte by byte: every cut, flip and cache, hundreds of thousands of mounts.
    flash::pair::tests::cuts flash::pair::tests::flips
    samples::tests::cuts samples::tests::flips samples::tests::random samples::tests::worn
    durable::crash_tests::a_new_folder
    # Central differences of the scalar kernels, whose bits the demo compares.
    ops::attention::tests::the_gradients_are
    train::tests::the_gradient_of_every_adapter
    # Runs that train again and again, cut and resumed: what --runtime leaves out for its time.
    tune::store::tests tune::tests::a_frozen_a
    # Texts and draws by the thousand.
    builtin::tests::held_out_questions chat::tests::rendering_real_dialogues
    chat::tests::a_bad_template select::policy::tests::ours_keep
    # Whole models of random weights, written and opened.
    bench::tests::random_weights bench::tests::a_hollow_model
)

step() { printf '\n== arm: %s (%ss)\n' "$1" "$SECONDS"; }
fail() { echo "arm: $1" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

need cargo "https://rustup.rs"
need cc "apt-get install gcc"
need qemu-aarch64 "apt-get install qemu-user"
[ -d "$(rustc --print target-libdir --target $target)" ] ||
    fail "the target is missing: rustup target add $target"

all= runtime=
case "${1:-}" in
    "") ;;
    --runtime) runtime=yes ;;
    --all) all=yes runtime=yes skip=() ;;
    *) fail "tests/arm.sh [--runtime | --all]" ;;
esac
here=${HOMESPUN:-}
if [ -z "$here" ]; then
    step "the binary of this machine"
    cargo build --release -p homespun-runtime
    here=${CARGO_TARGET_DIR:-target}/release/homespun
fi
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# One set of packages in every command: another has other features, and all would be compiled again.
# What computes is optimised, in core and kernels; to optimise runtime takes minutes and saves none here.
step "build"
arm=(
    --target $target --config profile.dev.package.homespun-runtime.opt-level=0
    -p homespun-core -p homespun-boards -p homespun-runtime
)
cargo build "${arm[@]}"
# Without runtime's tests other features are as well: only small crates are compiled again.
tested=("${arm[@]}")
[ $runtime ] || tested=(--target $target -p homespun-core -p homespun-boards)
CARGO_TERM_COLOR=never cargo test --no-run --lib "${tested[@]}" 2>&1 | tee "$logs/built"
binary=${CARGO_TARGET_DIR:-target}/$target/debug/homespun

demo() { "$@" demo --quick --threads 1 --json; }
# suite CRATE: its library's tests, in its folder, as cargo runs them.
suite() {
    local tests
    tests=$(realpath "$(grep -o "[^(]*/homespun_$1-[0-9a-f]*" "$logs/built")")
    (cd "$1" && qemu-aarch64 -cpu "$cpu" "$tests" --test-threads 1 "${skip[@]/#/--skip=}")
}
# A line of work on each of two cores.
one() {
    demo qemu-aarch64 -cpu "$cpu" "$binary" --isa scalar >"$logs/scalar"
    suite boards
    suite core
}
two() {
    demo qemu-aarch64 -cpu "$cpu" "$binary" >"$logs/neon"
    [ ! $runtime ] || suite runtime
}

step "libraries as $cpu; the quick demo, scalar and with NEON"
one >"$logs/one" 2>&1 & first=$!
two >"$logs/two" 2>&1 & second=$!
demo "$here" --isa scalar >"$logs/here" 2>/dev/null
status=0
wait $first || status=$?
wait $second || status=$?
cat "$logs/one" "$logs/two"
[ $status = 0 ] || fail "the above"

# value FILE KEY: of the JSON object, without its quotes.
value() { grep '^{' "$logs/$1" | grep -o "\"$2\":[^,}]*" | cut -d: -f2 | tr -d '"'; }
for key in adapter_sha256 replies_sha256; do
    ours=$(value here $key) theirs=$(value scalar $key)
    echo "$key: here $ours, $cpu $theirs"
    [ "${#ours}" = 64 ] && [ "$ours" = "$theirs" ] || fail "the scalar kernels gave other bytes"
done
ours=$(value scalar rouge1_after) theirs=$(value neon rouge1_after)
echo "rouge1_after: scalar $ours, NEON $theirs"
awk "BEGIN { d = $ours - $theirs; exit !(d <= 0.02 && d >= -0.02) }" || fail "ROUGE-1 is more than 0.02 apart"

if [ $all ]; then
    step "the integration tests"
    # Those of the command line start the binary: the kernel must know what runs it.
    skip=()
    if [ "$(uname -m)" != aarch64 ] && [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
        echo "SKIPPED: tests that start the binary; for them apt-get install qemu-user-binfmt"
        skip=(cli:: score::)
    fi
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER="qemu-aarch64 -cpu $cpu" \
        cargo test "${arm[@]}" -p homespun-tests --test all -- "${skip[@]/#/--skip=}"
fi
step "done"

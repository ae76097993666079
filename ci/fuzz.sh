#!/usr/bin/env bash
# Runs the targets of fuzz/ one after the other under AddressSanitizer: ci/fuzz.sh [SECONDS [TARGET..]]
#
# Without arguments: all targets, ten minutes each. What a target finds interesting stays in the target directory and is
# used by the next run. An input that fails is copied to fuzz/regressions/, which the gate replays.
#
# COFRAME_FUZZ_FEATURES replaces the default features (`flight fuzzing` builds without Polars).
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
. ../ci/skip.sh

if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    # Skipped even in CI: the gate uses stable Rust only, and replays the corpus.
    CI='' skip "fuzzing: it needs nightly Rust and cargo-fuzz (cargo install cargo-fuzz --locked)"
    exit 0
fi
seconds=${1:-600}
targets=("${@:2}")
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
fi
work="${CARGO_TARGET_DIR:-../target}/fuzz-asan"
mkdir -p "$work"
work="$(cd "$work" && pwd)"
export CARGO_TARGET_DIR="$work"
features=()
if [ -n "${COFRAME_FUZZ_FEATURES:-}" ]; then
    features=(--no-default-features --features "$COFRAME_FUZZ_FEATURES")
fi

# For the stores of the targets. A crash leaves them.
COFRAME_FUZZ_DIR="$(mktemp -d /dev/shm/coframe-fuzz-XXXXXX)"
export COFRAME_FUZZ_DIR
trap 'rm -rf "$COFRAME_FUZZ_DIR"' EXIT

# Leaks show as memory above the limit. A check at the end would count the threads of the servers.
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
failed=()
for target in "${targets[@]}"; do
    echo "== $target"
    found="$work/inputs/$target"
    mkdir -p "$found" "regressions/$target"
    cargo +nightly fuzz run "${features[@]}" "$target" "$found" "corpus/$target" "regressions/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3072 -malloc_limit_mb=1024 -max_len=16384 \
        -artifact_prefix="regressions/$target/" -print_final_stats=1 -verbosity=1 || failed+=("$target")
    rmdir --ignore-fail-on-non-empty "regressions/$target"
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}; see fuzz/regressions/" >&2
    exit 1
fi

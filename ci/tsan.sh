#!/usr/bin/env bash
# Runs the tests that use threads under ThreadSanitizer: ci/tsan.sh [TEST..]
#
# It reports two accesses of threads of one process to the same memory without an order between them. The tests are those
# of tests/it that compile without Polars (ci/tsan/src/lib.rs). A report of any process fails the run, also that of a
# worker or of a forked child.
#
# Needs nightly Rust with a component: rustup toolchain install nightly --component rust-src
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/skip.sh

if [ ! -d "$(rustc +nightly --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library" ]; then
    # Skipped even in CI: the gate uses stable Rust only.
    CI='' skip "ThreadSanitizer: it needs nightly Rust with the component rust-src"
    exit 0
fi
reports="$(mktemp -d)"
trap 'rm -rf "$reports"' EXIT

# The standard library is compiled with instrumentation too: otherwise its locks order nothing for the sanitizer.
# rustix calls the C library, whose functions the sanitizer observes, instead of the kernel.
export RUSTFLAGS="-Zsanitizer=thread --cfg rustix_use_libc ${RUSTFLAGS:-}"
# Forked children of the tests start threads.
export TSAN_OPTIONS="die_after_fork=0 log_path=$reports/report ${TSAN_OPTIONS:-}"
# Instrumented, the writers of the first are killed before they have done enough, and the second does not end.
skipped=(
    --skip map_failures::five_hundred_killed_writers_block_no_process_and_lose_no_committed_update
    --skip map_failures::slots_of_killed_readers_are_found_and_their_pages_used_again
)
host="$(rustc +nightly -vV | sed -n 's/^host: //p')"
failed=0
(
    cd ci/tsan
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../../target}/tsan" \
        cargo +nightly test --quiet --lib --locked -Zbuild-std --target "$host" -- "${skipped[@]}" "$@"
) || failed=1
if compgen -G "$reports/report*" >/dev/null; then
    cat "$reports"/report* >&2
    failed=1
fi
exit $failed

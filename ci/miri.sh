#!/usr/bin/env bash
# Runs the code that maps no memory under Miri, which finds undefined behaviour and leaks: names, handles, schemas, the
# digest, the reader of Arrow IPC streams. What maps files, forks or locks is beyond Miri; ci/loom covers atomics.
#
# Needs nightly Rust with two components: rustup toolchain install nightly --component miri,rust-src
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/skip.sh

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    # Skipped even in CI: the gate uses stable Rust only.
    CI='' skip "Miri: it needs nightly Rust with the components miri and rust-src"
    exit 0
fi
# Isolation off: the tests read files of testdata/.
cd ci/miri
MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../../target}/miri" \
    cargo +nightly miri test --quiet

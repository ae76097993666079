#!/usr/bin/env bash
# The gate of crates/ballista: lints, documentation, and tests on real processes.
#
# Apart from ci/check.sh because Ballista compiles about 430 crates, in a separate target directory that CI caches apart
# (docs/DESIGN.md, "Building"). `ci/cluster.sh tpch [SCALE]` also runs the 22 queries of TPC-H at scale 1.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

mkdir -p "${CARGO_TARGET_DIR:-target}"
CARGO_TARGET_DIR="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/ballista"
export CARGO_TARGET_DIR
cd crates/ballista

step "format"
cargo fmt --check

step "lints"
cargo clippy --all-targets --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib --locked

step "tests on a scheduler and two executors"
entries() { find /dev/shm -maxdepth 1 -mindepth 1 -name 'coframe-*' -printf '%f\n' | sort; }
entries_before=$(entries)
cargo test --locked
left=$(comm -13 <(printf '%s\n' "$entries_before") <(entries))
if [ -n "$left" ]; then
    echo "left behind: $left" >&2
    exit 1
fi

step "licences, duplicates and sources of dependencies"
if command -v cargo-deny >/dev/null; then
    cargo deny --offline check --config ../../deny.toml bans licenses sources
else
    echo "skipped: cargo deny is not installed"
fi

if [ "${1:-}" = tpch ]; then
    step "TPC-H at scale ${2:-1}"
    cargo bench --locked --bench cluster -- "${2:-1}"
fi

printf '\nthe cluster checks passed\n'

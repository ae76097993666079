#!/usr/bin/env bash
# The whole gate. Run it before you submit a change; CI runs exactly this.
#
# Builds each dependency twice at most: once checked (for clippy and the documentation), once compiled (for tests). The
# features are chosen so that both passes share what they can; see docs/DESIGN.md, "Building".
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/skip.sh

step() { printf '\n== %s\n' "$*"; }

mkdir -p "${CARGO_TARGET_DIR:-target}"
target="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"
COFRAME_SKIPPED="$(mktemp)"
export COFRAME_SKIPPED

step "format"
cargo fmt --all --check

step "one compiled Polars for all packages, and for README's first command and the command"
ci/once.py

step "lints, with every feature and every variant of Polars' enums"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

step "without Polars"
cargo clippy -p coframe --lib --no-default-features --locked -- -D warnings
for features in pool sync map shm shared_memory compression pool,sync,map,shm; do
    cargo clippy -p coframe --lib --no-default-features --features "$features" --locked -- -D warnings
done

step "documentation"
# With --examples the features are those of the lint pass, so no dependency is checked again.
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --lib --examples --all-features --locked

step "a Python with pyarrow, for the tests that open frames without coframe"
python="$target/python/bin/python"
if [ ! -x "$python" ]; then
    python3 -m venv "$target/python" || true
fi
if "$python" -c 'import pyarrow' 2>/dev/null || "$python" -m pip install --quiet 'pyarrow==26.0.1'; then
    export COFRAME_PYTHON="$python"
else
    skip "tests with pyarrow: pip cannot install it here"
fi

step "spelling"
typos="$target/python/bin/typos"
if "$python" -m pip install --quiet 'typos==1.52.0'; then
    "$typos"
else
    skip "typos: pip cannot install it here"
fi

step "tests of each package with its own features, as users install it"
entries() { find /dev/shm -maxdepth 1 -mindepth 1 -printf '%f\n' | sort; }
entries_before=$(entries)
cargo test -p coframe --locked
# The last one, so that target/debug/coframe is the command that was tested.
cargo test -p coframe-cli --locked

step "DataFusion, a separate workspace"
(
    cd crates/datafusion
    export CARGO_TARGET_DIR="$target/datafusion"
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --lib --locked
    cargo test -p coframe-datafusion -p coframe-datafusion-engine --locked
    if command -v cargo-deny >/dev/null; then
        cargo deny --offline check --config ../../deny.toml bans licenses sources
    fi
)

step "the steps of a latest cell and of a pool's board, under loom"
(cd ci/loom && CARGO_TARGET_DIR="$target/loom" cargo test --quiet --locked)

step "the program that changes the library to test the tests, a separate workspace"
(
    cd ci/mutants
    export CARGO_TARGET_DIR="$target/mutants"
    cargo fmt --check
    cargo clippy --quiet --all-targets --locked -- -D warnings
    cargo test --quiet --locked
)

step "programs without coframe"
# Uses the command that was built for its tests.
COFRAME_BIN="$target/debug/coframe" interop/check.sh

step "Arrow Flight, a separate workspace"
(
    readers="$target/readers-python/bin/python"
    if [ -x "$readers" ]; then export COFRAME_PYTHON="$readers"; fi
    cd crates/flight
    export CARGO_TARGET_DIR="$target/flight"
    cargo fmt --check
    cargo clippy --quiet --all-features --all-targets --locked -- -D warnings
    # Without the features, what they use is not left over.
    cargo clippy --quiet --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --all-features --no-deps --locked
    cargo test --all-features --lib --bins --tests --locked
    cargo test --quiet --all-features --doc --locked
    cargo run --quiet --example two_nodes --locked >/dev/null
)

step "kills, lack of resources and intruders, a separate workspace"
(
    cd crates/torture
    export CARGO_TARGET_DIR="$target/torture"
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings
    cargo test --locked
)

step "arbitrary bytes: the corpus of every fuzz target, a separate workspace"
(
    cd fuzz
    export CARGO_TARGET_DIR="$target/fuzz"
    cargo fmt --check
    cargo clippy --quiet --no-default-features --features flight --all-targets --locked -- -D warnings
    cargo test --no-default-features --features flight --locked
)

step "the Python package"
COFRAME_FLIGHT="$target/flight/debug/coframe-flight" COFRAME_TORTURE="$target/torture/debug/coframe-torture" \
    crates/python/ci.sh

step "nothing left in /dev/shm"
# Only entries that the suites create: names with their prefix, and temporary directories that contain a store.
left=$(comm -13 <(printf '%s\n' "$entries_before") <(entries) | while read -r entry; do
    case "$entry" in
        coframe-*) echo "$entry" ;;
        *) find "/dev/shm/$entry" -maxdepth 2 -name .home 2>/dev/null ;;
    esac
done)
if [ -n "$left" ]; then
    echo "left behind: $left" >&2
    exit 1
fi

step "licences, duplicates and sources of dependencies"
if command -v cargo-deny >/dev/null; then
    # Advisories need a connection: ci/release.sh checks them.
    cargo deny --offline check bans licenses sources
else
    # Skipped even in CI, which cannot install it.
    CI='' skip "cargo deny: it is not installed (cargo install cargo-deny)"
fi

step "the package"
cargo package -p coframe --no-verify --allow-dirty --locked --quiet --list >/dev/null

printf '\nall checks passed\n'
if [ -s "$COFRAME_SKIPPED" ]; then
    printf 'skipped: %s\n' "$(sort -u "$COFRAME_SKIPPED" | paste -sd ';')"
fi
rm "$COFRAME_SKIPPED"

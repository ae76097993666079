#!/usr/bin/env bash
# The whole gate: run this before saying that something is done. CI runs exactly this.
#
# Builds each dependency twice at most: once checked (for clippy and the documentation), once compiled (for tests). The
# features are chosen so that both passes share what they can; see docs/DESIGN.md, "Building".
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check

step "lints, with every feature and every variant of Polars' enums"
cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

step "without Polars"
cargo clippy -p coframe --lib --no-default-features --locked -- -D warnings
for features in pool cell dict shm compression pool,cell,dict,shm; do
    cargo clippy -p coframe --lib --no-default-features --features "$features" --locked -- -D warnings
done

step "documentation"
# --examples makes the features those of the lint pass, so that nothing is checked anew.
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --lib --examples --all-features --locked

step "a Python with pyarrow, for the test that reads a frame by its path"
# Pinned. Without Python or a package index the test says that it was passed over.
python="${CARGO_TARGET_DIR:-target}/python"
if [ ! -x "$python/bin/python" ]; then
    python3 -m venv "$python" || true
fi
if "$python/bin/python" -c 'import pyarrow' 2>/dev/null || "$python/bin/pip" install --quiet 'pyarrow==26.0.1'; then
    COFRAME_PYTHON="$(cd "$(dirname "$python/bin/python")" && pwd)/python"
    export COFRAME_PYTHON
else
    echo "no pyarrow here: one test will be passed over"
fi

step "tests"
before=$(ls -A /dev/shm | sort)
cargo test --workspace --locked

step "the order of a snapshot's steps, under loom"
(cd ci/loom && CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../../target}/loom" cargo test --quiet --locked)

step "readers that have no coframe"
# The command was built for its tests; `cargo build` would compile Polars anew, without the features of the tests.
COFRAME_BIN="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/coframe" readers/check.sh

step "the Python package"
crates/python/ci.sh

step "nothing left in /dev/shm"
left=$(comm -13 <(printf '%s\n' "$before") <(ls -A /dev/shm | sort))
if [ -n "$left" ]; then
    echo "left behind: $left" >&2
    exit 1
fi

step "licences, duplicates and sources of dependencies"
if command -v cargo-deny >/dev/null; then
    cargo deny --offline check bans licenses sources
else
    echo "cargo-deny is not installed: passed over (cargo install cargo-deny)"
fi

step "the package"
cargo package -p coframe --no-verify --allow-dirty --locked --quiet --list >/dev/null

printf '\nall checks passed\n'

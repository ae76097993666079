#!/usr/bin/env bash
# Tests that take too long for every change. Run them before a release.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== many more cases"
PROPTEST_CASES=5000 cargo test --locked --test it any_frame_comes_back

mkdir -p "${CARGO_TARGET_DIR:-target}"
target="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)"

echo "== random tables of every Arrow type, also through Flight and DataFusion"
COFRAME_TABLES=100000 cargo test --workspace --locked --test it any_table
(
    cd crates/flight
    CARGO_TARGET_DIR="$target/flight" COFRAME_TABLES=20000 cargo test --all-features --locked --test it any_table
)
(
    cd crates/datafusion
    CARGO_TARGET_DIR="$target/datafusion" COFRAME_TABLES=20000 cargo test -p coframe-datafusion --locked --test it any_table
)

echo "== tests with every variant of Polars' enums (compiles Polars again)"
cargo test --workspace --locked --features _polars-variants

echo "== a million foreign files with damaged bytes"
seed=${COFRAME_SEED:-$(date +%s)}
echo "COFRAME_SEED=$seed"
COFRAME_SEED=$seed COFRAME_MUTATIONS=1000000 cargo test --locked --test it mutation:: -- --nocapture

echo "== eight hundred kills"
COFRAME_KILLS=800 cargo test --locked --test it kills::

echo "== ten thousand kills in all roles, lack of resources, intruders, and an hour at full speed"
(
    cd crates/torture
    export CARGO_TARGET_DIR="$target/torture"
    cargo run --locked -- kill --kills 10000 --seed "$seed"
    cargo run --locked -- exhaust --deep 1
    cargo run --locked -- intrude
    cargo run --locked -- endure --minutes 60 --svg "$target/torture/endure.svg"
)

echo "== small changes of the library that no test notices (compiles Polars again); docs/RELIABILITY.md explains survivors"
(
    cd ci/mutants
    export CARGO_TARGET_DIR="$target/mutants"
    cargo run --locked -- --sample 350 --seed "$seed" --budget 25 --work "$target/mutants/work"
)

echo "== arbitrary bytes, ten minutes for each target, under AddressSanitizer (compiles Polars again)"
ci/fuzz.sh

echo "== what maps no memory, under Miri"
ci/miri.sh

echo "== threads of one process, under ThreadSanitizer"
ci/tsan.sh

echo "== the Python package, Ray and random tables included"
COFRAME_DEEP=1 COFRAME_TABLES=20000 COFRAME_TORTURE="$target/torture/debug/coframe-torture" crates/python/ci.sh

echo "== joblib's and loky's own tests, alone and with shared objects"
crates/python/suites/run.sh

echo "== races, twenty times"
for _ in $(seq 20); do
    cargo test --locked --quiet --test it processes::
done

echo "== the package builds from what it contains"
cargo package --locked --allow-dirty

echo "== benchmarks"
cargo bench --locked

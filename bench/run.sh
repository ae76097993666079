#!/usr/bin/env bash
# Measures coframe and its peers in one run, and writes bench/results/*.json, docs/BENCHMARKS.md and docs/charts/.
#
#     bench/run.sh [--quick] [SECTION[:PART,..]]..
#
# Sections: handover, publish, open, scan, tasks, cells, transfers, engines. `--quick` uses small tables and 3 runs, ends within
# 5 minutes on 2 cores (after the builds) and writes no file that is committed. A run of all takes about 45 minutes.
#
# COFRAME_WHEEL is a wheel to measure, COFRAME_FLIGHT a coframe-flight. Without them, both are built (release). COFRAME_CLUSTER
# is a coframe-cluster; without one in $CARGO_TARGET_DIR/ballista/release, its row is left out. The row of scp needs sshd.
set -euo pipefail
cd "$(dirname "$0")"

target="${CARGO_TARGET_DIR:-../target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
venv="$target/bench-python"

if ! cmp -s requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement requirements.txt
    cp requirements.txt "$venv/"
fi
if [ -z "${COFRAME_WHEEL:-}" ]; then
    "$venv/bin/pip" install --quiet 'maturin==1.16.0'
    rm -rf "$target/bench-wheels"
    (cd ../crates/python && CARGO_TARGET_DIR="$target" "$venv/bin/maturin" build --quiet --release --locked \
        --interpreter "$venv/bin/python" --out "$target/bench-wheels")
    COFRAME_WHEEL="$(ls "$target"/bench-wheels/*.whl)"
fi
"$venv/bin/pip" install --quiet --force-reinstall --no-deps "$COFRAME_WHEEL"
if [ -z "${COFRAME_FLIGHT:-}" ]; then
    (cd ../crates/flight && CARGO_TARGET_DIR="$target/flight" cargo build --quiet --release --locked --features command \
        --bin coframe-flight)
    COFRAME_FLIGHT="$target/flight/release/coframe-flight"
fi
export COFRAME_FLIGHT COFRAME_CLUSTER="${COFRAME_CLUSTER:-$target/ballista/release/coframe-cluster}"

quick=
for word in "$@"; do [ "$word" = --quick ] && quick=1; done
if [ -n "$quick" ]; then
    BENCH_RESULTS="$target/bench-results"
    rm -rf "$BENCH_RESULTS"
    export BENCH_RESULTS BENCH_RUNS=3
fi
status=0
"$venv/bin/python" -B bench.py "$@" || status=$?
if [ -z "$quick" ]; then
    "$venv/bin/python" -B report.py
else
    echo "results: $BENCH_RESULTS"
fi
exit "$status"

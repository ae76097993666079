#!/usr/bin/env bash
# Measures coframe and its peers in one run, and writes bench/results/*.json, docs/BENCHMARKS.md and docs/charts/.
#
#     bench/run.sh [--quick] [SECTION[:PART,..]]..
#
# Sections: handover, publish, open, scan, tasks, cells. `--quick` uses small tables and 3 runs, ends within
# 5 minutes on 2 cores and writes no file that is committed. COFRAME_WHEEL is a wheel to measure; without it, one is built (release).
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

quick=
for word in "$@"; do [ "$word" = --quick ] && quick=1; done
if [ -n "$quick" ]; then
    BENCH_RESULTS="$target/bench-results"
    rm -rf "$BENCH_RESULTS"
    export BENCH_RESULTS BENCH_RUNS=3
fi
"$venv/bin/python" -B bench.py "$@"
if [ -z "$quick" ]; then
    "$venv/bin/python" -B report.py
else
    echo "results: $BENCH_RESULTS"
fi

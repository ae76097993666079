#!/usr/bin/env bash
# Runs joblib's and loky's own test suites twice, alone and under `python -m coframe --min-bytes 0`, and fails if a result
# differs that suites/differences.txt does not list. ci/deep.sh calls it; each run takes some minutes.
#
#     crates/python/suites/run.sh [WHEEL]      without WHEEL, that of crates/python/ci.sh
set -euo pipefail
cd "$(dirname "$0")"
here="$PWD"

target="${CARGO_TARGET_DIR:-../../../target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
wheel="$(realpath "${1:-$(ls "$target"/python-wheels/*.whl)}")"
work="$target/suites"
venv="$work/venv"

mkdir -p "$work"
if ! cmp -s requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv" "$work/loky"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement requirements.txt
    # joblib's tests are in its wheel, those of loky are in its source archive.
    "$venv/bin/pip" download --quiet --no-deps --no-binary :all: --dest "$work" "$(grep '^loky==' requirements.txt)"
    mkdir -p "$work/loky"
    tar --extract --gzip --file "$work"/loky-*.tar.gz --directory "$work/loky" --strip-components 1
    cp requirements.txt "$venv/"
fi
"$venv/bin/pip" install --quiet --force-reinstall --no-deps "$wheel"
joblib="$("$venv/bin/python" -c 'import joblib, os; print(os.path.dirname(joblib.__file__))')"

# A store for these runs alone, which goes with them.
COFRAME_STORE="$(mktemp --directory --tmpdir=/dev/shm coframe-suites-XXXXXX)/store"
export COFRAME_STORE
trap 'rm -rf "$(dirname "$COFRAME_STORE")"' EXIT

# suite NAME DIRECTORY TESTS..: both runs, in the directory that has the suite's configuration
suite() {
    local name=$1 directory=$2
    shift 2
    for how in alone shared; do
        local program=(-m pytest)
        if [ "$how" = shared ]; then program=(-m coframe --min-bytes 0 -m pytest); fi
        echo "$name, $how"
        rm -f "$work/$name-$how.xml"
        # Many tests wait for a fixed time, so a busy machine fails them: a failed test runs again. What fails then is
        # compared below. A run that ends early writes no results, which fails there.
        (cd "$directory" && timeout --kill-after 10 3600 "$venv/bin/python" "${program[@]}" -q -p no:cacheprovider \
            --timeout 300 --reruns 2 --junit-xml "$work/$name-$how.xml" "$@" >"$work/$name-$how.log" 2>&1) || true
    done
}

# joblib's tests of Dask start clusters that are not in the requirements.
suite joblib "$work" --pyargs joblib --ignore "$joblib/test/test_dask.py"
# Those of loky that need much memory are left out.
suite loky "$work/loky" tests --skip-high-memory
"$venv/bin/python" "$here/compare.py" "$here/differences.txt" "$work" joblib loky

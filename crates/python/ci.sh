#!/usr/bin/env bash
# Builds the Python package into a separate virtual environment and runs its tests there. ci/check.sh calls it.
#
# The extension is built by itself, without Polars' Rust crates, as users get it: in the workspace's build, features unify
# and it would have them inside. The build shares the target directory, and the environment is made anew only when its
# requirements change.
set -euo pipefail
cd "$(dirname "$0")"
. ../../ci/skip.sh

target="${CARGO_TARGET_DIR:-../../target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
venv="$target/python-package"

if ! cmp -s requirements-test.txt "$venv/requirements-test.txt"; then
    rm -rf "$venv"
    if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install --quiet --requirement requirements-test.txt; then
        rm -rf "$venv"
        skip "the Python package: there is no Python 3 with a package index here"
        exit 0
    fi
    cp requirements-test.txt "$venv/"
fi

rm -rf "$target/python-wheels"
CARGO_TARGET_DIR="$target" "$venv/bin/maturin" build --quiet --locked --interpreter "$venv/bin/python" \
    --out "$target/python-wheels"
"$venv/bin/pip" install --quiet --force-reinstall --no-deps "$target"/python-wheels/*.whl

# Pinned, because each version adds rules. `ruff check --fix` in this directory repairs most findings.
"$venv/bin/pip" install --quiet 'ruff==0.17.5'
"$venv/bin/ruff" check --quiet --no-cache .
"$venv/bin/ruff" check --quiet --no-cache --config pyproject.toml ../../interop

# The stubs match the native part, and the sources match the stubs.
(cd python && MYPYPATH=. "$venv/bin/python" -m mypy --strict --cache-dir "$target/mypy" --package coframe)
"$venv/bin/python" -m mypy.stubtest coframe --allowlist stubtest-allow.txt

if [ -z "${COFRAME_TORTURE:-}" ]; then
    skip "random tables through Python: COFRAME_TORTURE has no path of coframe-torture"
fi
# Outside of the sources, so that what was installed is what is tested.
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist loadfile

# The same wheel in the oldest and the newest Python on PATH. pyenv has a command for each version, and runs those that
# are named here.
if command -v pyenv >/dev/null; then
    PYENV_VERSION="$(pyenv versions --bare | paste -sd: -)"
    export PYENV_VERSION
fi
found=()
for version in 3.10 3.11 3.12 3.13 3.14; do
    if "python$version" -c "import sys; assert sys.version.startswith('$version.')" 2>/dev/null; then
        found+=("$version")
    fi
done
for version in $(printf '%s\n' "${found[@]}" | sed -n '1p;$p' | uniq); do
    if "$venv/bin/python" -c "import sys; sys.exit(sys.version.startswith('$version.'))"; then
        other="$target/python-$version"
        if ! cmp -s requirements-others.txt "$other/requirements-others.txt"; then
            rm -rf "$other"
            "python$version" -m venv --without-pip "$other"
            "$venv/bin/pip" --python "$other/bin/python" install --quiet --requirement requirements-others.txt
            cp requirements-others.txt "$other/"
        fi
        "$venv/bin/pip" --python "$other/bin/python" install --quiet --force-reinstall --no-deps "$target"/python-wheels/*.whl
        echo "tests of sharing() in Python $version, of ${found[*]}"
        PYTHONDONTWRITEBYTECODE=1 "$other/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist loadfile \
            -W 'ignore::DeprecationWarning' tests/test_sharing*.py tests/test_recent.py tests/test_partial.py tests/test_writable.py
    fi
done
if [ "${#found[@]}" -lt 2 ]; then
    echo "only Python ${found[*]:-of this environment} is on PATH: coframe is for 3.10 to 3.14"
fi

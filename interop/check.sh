#!/usr/bin/env bash
# Opens frames of every type in programs that do not use coframe: see check.py. COFRAME_BIN is the command to publish
# with; `--write` replaces the expected results with the new ones.
#
# Installs the programs under the target directory and keeps them until a pinned version changes.
set -euo pipefail
. "$(dirname "$0")/../ci/skip.sh"

target="${CARGO_TARGET_DIR:-$(dirname "$0")/../target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
python="$target/readers-python"
node="$target/readers-node"
: "${COFRAME_BIN:=$target/debug/coframe}"
export COFRAME_BIN COFRAME_INTEROP_NODE="$node"
if [ ! -x "$COFRAME_BIN" ]; then
    echo "$COFRAME_BIN not found: build it with cargo build --workspace" >&2
    exit 1
fi
cd "$(dirname "$0")"

# Whether the directory $1 was installed from the files that follow: it holds their hash.
filled() { [ "$(cat "$1/filled-from" 2>/dev/null)" = "$(hash_of "${@:2}")" ]; }
hash_of() { cat "$@" | sha256sum; }

# Daft asks for an older pyarrow than the other readers, and works with this one; so it is installed without its
# dependencies, which requirements.txt has.
requirements=(requirements.txt requirements-no-deps.txt)
if ! filled "$python" "${requirements[@]}"; then
    rm -rf "$python"
    if python3 -m venv "$python"; then
        if "$python/bin/pip" install --quiet --requirement requirements.txt &&
            "$python/bin/pip" install --quiet --no-deps --requirement requirements-no-deps.txt; then
            hash_of "${requirements[@]}" >"$python/filled-from"
        else
            skip "some readers of interop/requirements.txt: pip cannot install them here"
            # One at a time, so that one missing package does not prevent the others.
            while read -r package; do "$python/bin/pip" install --quiet "$package" || true; done <requirements.txt
            "$python/bin/pip" install --quiet --no-deps --requirement requirements-no-deps.txt || true
        fi
    fi
fi
if ! filled "$node" node/package.json node/package-lock.json; then
    rm -rf "$node"
    mkdir -p "$node"
    cp node/package.json node/package-lock.json "$node"
    if (cd "$node" && npm ci --silent --no-audit --no-fund --ignore-scripts); then
        hash_of node/package.json node/package-lock.json >"$node/filled-from"
    else
        skip "apache-arrow and Arquero for Node: npm cannot install it here"
    fi
fi
if [ ! -x "$python/bin/python" ]; then
    skip "all readers: Python 3 with venv not found"
    exit 0
fi
exec "$python/bin/python" -B check.py "$@"

#!/usr/bin/env bash
# Readers without coframe on every type: see check.py. COFRAME_BIN is the command; `--write` commits what is found.
#
# The readers are installed under the target directory and kept until a pinned version changes.
set -euo pipefail
. "$(dirname "$0")/../ci/skip.sh"

target="${CARGO_TARGET_DIR:-$(dirname "$0")/../target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
python="$target/readers-python"
node="$target/readers-node"
: "${COFRAME_BIN:=$target/debug/coframe}"
export COFRAME_BIN COFRAME_READERS_NODE="$node"
if [ ! -x "$COFRAME_BIN" ]; then
    echo "no command at $COFRAME_BIN: cargo build --workspace makes it" >&2
    exit 1
fi
cd "$(dirname "$0")"

# The directory $1 was filled from the files that follow: their hash lies in it.
filled() { [ "$(cat "$1/filled-from" 2>/dev/null)" = "$(hash_of "${@:2}")" ]; }
hash_of() { cat "$@" | sha256sum; }

if ! filled "$python" requirements.txt; then
    rm -rf "$python"
    # One package at a time, so that one that is not to be had does not take the others with it.
    if python3 -m venv "$python"; then
        if "$python/bin/pip" install --quiet --requirement requirements.txt; then
            hash_of requirements.txt >"$python/filled-from"
        else
            skip "some readers of readers/requirements.txt: they cannot be installed here"
            while read -r package; do "$python/bin/pip" install --quiet "$package" || true; done <requirements.txt
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
        skip "apache-arrow for Node: it cannot be installed here"
    fi
fi
if [ ! -x "$python/bin/python" ]; then
    skip "all readers: there is no Python 3 with venv here"
    exit 0
fi
exec "$python/bin/python" -B check.py "$@"

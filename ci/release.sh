#!/usr/bin/env bash
# What a release needs beyond the gate (RELEASING.md). A missing cargo tool is an error.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in cargo-deny cargo-semver-checks; do
    command -v "$tool" >/dev/null || { echo "$tool is missing; cargo install --locked $tool" >&2; exit 1; }
done

echo "== the gate"
CI=true ci/check.sh

echo "== what takes hours"
ci/deep.sh

echo "== licences, duplicates, sources and advisories of dependencies"
cargo deny check

echo "== changes of the API against the previous release"
if previous=$(git describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null); then
    cargo semver-checks --package coframe --baseline-rev "$previous"
else
    echo "the first release: no previous one to compare with"
fi

echo "== the packages"
cargo package --locked --package coframe
cargo package --locked --package coframe-cli --no-verify

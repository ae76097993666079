#!/usr/bin/env python3
"""Checks that Polars is compiled once: for all packages in tests, and for README's first command and the command.

cargo compiles a dependency again if its features, or those of anything below it, differ between two builds. This script
asks cargo for its plan (`--unit-graph`, which needs `RUSTC_BOOTSTRAP` on a stable toolchain) and compiles nothing.
"""

import json
import os
import subprocess
import sys

# Each group of builds shares one compiled Polars. `cargo install --locked --path crates/cli` plans as the last one does.
GROUPS = [
    ["test --workspace", "test -p coframe", "test -p coframe-cli"],
    ["run --release --example flights", "bench --workspace", "build --release -p coframe-cli"],
]


def units(build: str) -> list[dict]:
    """What cargo would compile for a build."""
    arguments = build.replace("run ", "build ").split()
    if arguments[0] in ("test", "bench"):
        arguments.append("--no-run")
    plan = subprocess.run(
        ["cargo", *arguments, "--locked", "--unit-graph", "-Z", "unstable-options"],
        env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(plan.stdout)["units"]


def below_polars(build: str) -> dict[str, set[tuple]]:
    """The packages that Polars consists of and depends on, each with the settings that it is compiled with."""
    graph = units(build)
    left = [at for at, unit in enumerate(graph) if "#polars" in unit["pkg_id"]]
    if not left:
        sys.exit(f"`cargo {build}` compiles no Polars: correct {sys.argv[0]}")
    found: dict[str, set[tuple]] = {}
    seen = set()
    while left:
        at = left.pop()
        if at in seen:
            continue
        seen.add(at)
        unit = graph[at]
        left += [dependency["index"] for dependency in unit["dependencies"]]
        profile = {key: value for key, value in unit["profile"].items() if key != "name"}
        settings = (unit["mode"], json.dumps(profile, sort_keys=True), *unit["features"])
        found.setdefault(unit["pkg_id"].rsplit("/", 1)[-1], set()).add(settings)
    return found


def features(settings: set[tuple]) -> set[str]:
    return {feature for _, _, *rest in settings for feature in rest}


def main() -> None:
    failed = False
    for first, *others in GROUPS:
        expected = below_polars(first)
        for build in others:
            found = below_polars(build)
            for package in sorted(expected.keys() | found.keys()):
                a, b = expected.get(package, set()), found.get(package, set())
                if a != b:
                    failed = True
                    lacks, adds = sorted(features(a) - features(b)), sorted(features(b) - features(a))
                    print(
                        f"`cargo {build}` compiles Polars again after `cargo {first}`, because of {package}:"
                        f" features that it lacks: {lacks}, that it adds: {adds}, or another profile",
                        file=sys.stderr,
                    )
    if failed:
        sys.exit("name the features in the manifest of the package that lacks them (see Cargo.toml)")


main()

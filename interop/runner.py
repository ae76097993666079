"""Runs each reader in a separate process, so that a frame that crashes it costs one result and not the whole run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
NODE = Path(os.environ.get("COFRAME_INTEROP_NODE", "no-such-directory"))
READERS = (
    "pyarrow", "polars", "pandas", "duckdb", "chdb", "datafusion", "daft", "arro3", "perspective", "nanoarrow", "node",
    "arquero",
)
#: Programs for Node: the package that each needs, and the script that reads with it.
IN_NODE = {"node": ("apache-arrow", "read"), "arquero": ("arquero", "arquero")}
SECONDS = 300


def missing(reader):
    """The reason why a reader cannot run here, or `None`."""
    if reader in IN_NODE:
        package = IN_NODE[reader][0]
        installed = shutil.which("node") and (NODE / "node_modules" / package).is_dir()
        return None if installed else f"Node with {package}: not installed here"
    found = subprocess.run([sys.executable, "-c", f"import pyarrow, {reader}"], capture_output=True)
    return f"{reader}: it or pyarrow cannot be imported" if found.returncode else None


def program(name):
    """The command line of a program in this folder, and its working directory."""
    action, _, library = name.partition("_")
    if library in IN_NODE:
        # Node resolves modules relative to the importing file.
        script = NODE / f"{IN_NODE[library][1] if action == 'read' else action}.mjs"
        script.write_text((HERE / "node" / script.name).read_text())
        return ["node", str(script)], NODE
    return [sys.executable, "-B", str(HERE / "programs" / f"{name}.py")], HERE


def ask(reader, jobs):
    """One answer for each job, in order."""
    answers = []
    while len(answers) < len(jobs):
        lines, ended = run(*program(f"read_{reader}"), jobs[len(answers):])
        answers += lines
        if len(answers) < len(jobs):
            answers.append({"error": ended})
    return answers


def run(command, folder, jobs):
    with tempfile.TemporaryFile("w+") as questions:
        questions.writelines(json.dumps(job) + "\n" for job in jobs)
        questions.seek(0)
        # Only lines on stdout are answers; stderr is dropped.
        done = subprocess.run(command, cwd=folder, stdin=questions, capture_output=True, text=True, timeout=SECONDS)
    return [json.loads(line) for line in done.stdout.splitlines()], end_of(done)


def end_of(done):
    if done.returncode < 0:
        return f"the process was killed by {signal.Signals(-done.returncode).name}"
    return f"the process ended with {done.returncode}"

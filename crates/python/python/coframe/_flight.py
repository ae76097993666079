"""The program ``coframe-flight``: where it is, and what it answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

from ._errors import InvalidError, MissingPackageError, NotFoundError, RemoteError

_PROGRAM = "coframe-flight"
_INSTALL = "install it from a checkout with `cargo install --path crates/flight --features command`"


def program() -> str:
    """The program of ``COFRAME_FLIGHT``, next to this Python, or in PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), _PROGRAM)
    found = os.environ.get("COFRAME_FLIGHT") or shutil.which(beside) or shutil.which(_PROGRAM)
    if found is None:
        raise MissingPackageError(f"frames of other machines need the program {_PROGRAM}, which was not found; {_INSTALL}")
    return found


def options(**values: str | os.PathLike[str] | int | None) -> list[str]:
    given = ((name, value) for name, value in values.items() if value is not None)
    return [f"--{name.replace('_', '-')}={value if isinstance(value, int) else os.fspath(value)}" for name, value in given]


def ask(store: str, *arguments: str) -> Any:
    """What the program answers, with the local store at this path."""
    command = [program(), "--json", "--store", store, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise error(done.returncode, done.stderr)
    return json.loads(done.stdout)


def pull(store: str, access: list[str], url: str, name: str, version: int | None, into: str | None) -> Any:
    """Pulls a frame into the local store, and returns its name and version there. ``access``: :func:`options`."""
    given = [] if version is None else ["--version", str(version)]
    given += [] if into is None else ["--as", into]
    return ask(store, *access, "pull", *given, "--", url, name)


def error(code: int, message: str) -> Exception:
    text = message.strip().removeprefix("coframe: ") or f"{_PROGRAM} ended with {code}"
    if code == 3:
        return NotFoundError(text)
    return InvalidError(text) if code == 2 else RemoteError(text)

"""Runs a program under :func:`coframe.sharing`, unchanged: ``python -m coframe PROGRAM [ARGS]`` or ``-m MODULE [ARGS]``."""

from __future__ import annotations

import atexit
import os
import sys
import types
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from ._sharing import sharing

_USAGE = "usage: python -m coframe [--min-bytes N] [--verbose] (PROGRAM | -m MODULE) [ARGS]"

_HELP = f"""{_USAGE}

Runs a Python program that shares its tables between processes.

  --min-bytes N  share objects of at least N bytes (default: 1048576)
  --verbose      print why an object is pickled
  -m MODULE      run a module, with the arguments that follow
  PROGRAM        run a file, with the arguments that follow
  -h, --help     print this text"""


class Options(NamedTuple):
    """What the command line asks for."""

    min_bytes: int
    verbose: bool
    is_module: bool
    #: The program or the module, and its arguments.
    arguments: list[str]


def _options(words: list[str]) -> Options:
    """Parses the command line. ``argparse`` imports twelve modules, a sixth of what a program waits for at its start."""
    rest = list(words)
    min_bytes, verbose = 1 << 20, False
    while rest and rest[0].startswith("-"):
        option, _, value = rest.pop(0).partition("=")
        if option in ("-h", "--help"):
            print(_HELP)
            sys.exit()
        elif option == "--verbose":
            verbose = True
        elif option == "--min-bytes":
            min_bytes = _bytes(value or (rest.pop(0) if rest else ""))
        elif option == "-m" and rest:
            return Options(min_bytes, verbose, True, rest)
        else:
            _refuse(f"`{option}`: expected one of the options above" if option != "-m" else "-m: expected a MODULE")
    return Options(min_bytes, verbose, False, rest) if rest else _refuse("expected a PROGRAM or -m MODULE")


def _bytes(text: str) -> int:
    return int(text) if text.isdecimal() else _refuse(f"--min-bytes `{text}`: expected a number of bytes")


def _refuse(why: str) -> NoReturn:
    print(f"{_USAGE}\npython -m coframe: error: {why}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Parses the command line and becomes the program."""
    options = _options(sys.argv[1:])
    arguments = options.arguments
    shared = sharing(options.min_bytes, verbose=options.verbose)
    shared.__enter__()
    _at_the_end(shared.__exit__)
    sys.argv = arguments
    if options.is_module:
        # The directory of the program is that of the package so far; `-m` has the current one.
        sys.path[0] = os.getcwd()
        import runpy

        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        _run_file(arguments[0])


def _at_the_end(call: Callable[[], object]) -> None:
    """Calls it after `multiprocessing` has joined the children of this process, which may still read what was shared."""
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        # What is registered first is called last.
        atexit.register(call)
    else:
        util.Finalize(None, call, exitpriority=-100)


def _run_file(path: str) -> None:
    sys.path[0] = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):
        sys.path[0] = path
        import runpy

        runpy.run_path(path, run_name="__main__")
        return
    # Not `run_path`, after which the module is gone: threads and exit handlers of the program use it.
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=__builtins__, __spec__=None, __cached__=None)
    sys.modules["__main__"] = module
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    exec(code, module.__dict__)


if __name__ == "__main__":
    main()

"""Runs a program under :func:`coframe.sharing`, unchanged: ``python -m coframe PROGRAM [ARGS]`` or ``-m MODULE [ARGS]``."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import types
from collections.abc import Callable

from ._sharing import sharing


def main() -> None:
    """Parses the command line and becomes the program."""
    parser = argparse.ArgumentParser(prog="python -m coframe", description="Runs a Python program that shares its tables between processes.")
    parser.add_argument("--min-bytes", type=int, default=1 << 20, metavar="N", help="share objects of at least N bytes (default: 1048576)")
    parser.add_argument("--verbose", action="store_true", help="print why an object is pickled")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE", help="run a module, with the arguments that follow")
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM", help="run a file, with the arguments that follow")
    options = parser.parse_args()
    arguments = options.module or options.program
    if not arguments:
        parser.error("expected a PROGRAM or -m MODULE")
    shared = sharing(options.min_bytes, verbose=options.verbose)
    shared.__enter__()
    _at_the_end(shared.__exit__)
    sys.argv = arguments
    if options.module:
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

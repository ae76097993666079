"""The packages that tables come from and go to. None is needed to import coframe."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

from ._errors import MissingPackageError


def need(package: str, why: str) -> ModuleType:
    """Imports a package, or raises an error that names the feature and the command to install it."""
    try:
        # Much faster than `importlib.import_module` for what is imported already.
        __import__(package)
        return sys.modules[package]
    except ImportError as error:
        raise MissingPackageError(f"{why} needs {package}, which is not installed: pip install {package}") from error


def is_a(thing: Any, package: str, *names: str) -> bool:
    """Whether a thing is an instance of a class of a package. Does not import the package: its user has done so."""
    module = sys.modules.get(package)
    classes = tuple(getattr(module, name) for name in names if hasattr(module, name))
    return bool(classes) and isinstance(thing, classes)


def kind(thing: Any) -> str | None:
    """What kind of table a thing is: what :meth:`coframe.Frame.to_table` gives back."""
    if is_a(thing, "polars", "DataFrame", "LazyFrame"):
        return "polars"
    if is_a(thing, "pandas", "DataFrame"):
        return "pandas"
    if is_a(thing, "pyarrow", "Table", "RecordBatch", "RecordBatchReader"):
        return "arrow"
    if isinstance(thing, type):
        # A class has the methods of its instances.
        return None
    if hasattr(thing, "__arrow_c_stream__") or hasattr(thing, "__arrow_c_array__"):
        return "arrow"
    return None


def is_table(thing: Any) -> bool:
    """Whether a thing is surely a whole table, to be shared without a request, and to come back as what it is."""
    known = {("polars", "DataFrame"), ("pandas", "DataFrame"), ("pyarrow", "Table")}
    # The very class: an instance of a class derived from it would come back as another thing.
    return any(type(thing) is getattr(sys.modules.get(package), name, None) for package, name in known)


def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return package in sys.modules or importlib.util.find_spec(package) is not None

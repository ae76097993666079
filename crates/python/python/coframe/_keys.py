"""Keys of dicts as strings, whose order is that of the keys (docs/FORMAT.md, section 10)."""

from __future__ import annotations

import datetime
import decimal
import enum
import importlib
import operator
import uuid
from collections.abc import Callable
from typing import Any

from ._errors import ArgumentTypeError, InvalidError

_EXPECTED = "expected a str, bytes, a number, None, a date, a datetime, a UUID, a member of an enum, or a tuple of them"
_NONE, _NUMBER, _STR, _BYTES, _DATE, _DATETIME, _INSTANT, _UUID, _ENUM, _TUPLE = "0123456789"
#: Ends a number, bytes and a tuple: less than whatever may follow. A negative number ends with what is greater.
_END, _END_OF_NEGATIVE = "!", "~"
#: Ends a str, in which a NUL is followed by 1.
_END_OF_STR = "\0\0"
_ZERO, _NEGATIVE, _POSITIVE = "546"
_COMPLEMENTS = str.maketrans("0123456789", "9876543210")
#: Added to exponents, which are at least -323.
_BIAS = 1000
_INFINITY = 99999


def text_of(key: Any) -> str:
    """The string of a key. Keys that are equal as keys of a ``dict`` have the same, such as 1, 1.0 and True."""
    try:
        text = _written(_plain(key))
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(f"a key that is not Unicode text: {error}") from error
    except (ValueError, OverflowError) as error:
        if isinstance(error, InvalidError):
            raise
        # Python writes integers of up to some thousand digits; an instant may be outside of the years 1 to 9999.
        raise InvalidError(f"a key that is too long or too large: {error}") from error
    return text


def key_of(text: str) -> Any:
    """The key of a string."""
    key, _ = _read(text, 0)
    return key


def _plain(key: Any) -> Any:
    """One form for keys that a ``dict`` takes as equal."""
    if type(key) is tuple:
        return tuple(map(_plain, key))
    if isinstance(key, enum.Enum):
        # A member of IntEnum or StrEnum is equal to its value.
        return _plain(key.value) if isinstance(key, (int, str, float, bytes, tuple)) else _member_checked(key)
    if any(cls.__module__ == "numpy" and cls.__name__ == "generic" for cls in type(key).__mro__) and key.dtype.kind in "biufSU":
        key = key.item()
    if isinstance(key, bool) or (type(key) is float and key.is_integer()):
        return int(key)
    if type(key) not in (str, bytes, int, float, type(None), datetime.date, datetime.datetime, uuid.UUID):
        raise ArgumentTypeError(f"a key of type {type(key).__name__}: {_EXPECTED}")
    if key != key:
        raise InvalidError("a key that is not a number (nan): it is not equal to itself, so it would never be found")
    return key


def _member_checked(key: enum.Enum) -> enum.Enum:
    cls = type(key)
    try:
        is_found = key.name is not None and _member(cls.__module__, cls.__qualname__, key.name) is key
    except (ImportError, AttributeError, KeyError):
        is_found = False
    if not is_found:
        raise InvalidError(f"the key {key!r}: expected a member of an enum that is found by its name in its module")
    return key


def _member(module: str, qualname: str, name: str) -> Any:
    return operator.attrgetter(qualname)(importlib.import_module(module))[name]


def _written(key: Any) -> str:
    if key is None:
        return _NONE
    if isinstance(key, enum.Enum):
        cls = type(key)
        return _ENUM + _escaped(cls.__module__) + _escaped(cls.__qualname__) + _escaped(key.name)
    if isinstance(key, (int, float)):
        return _NUMBER + _number(key)
    if isinstance(key, str):
        return _STR + _escaped(key)
    if isinstance(key, bytes):
        return _BYTES + key.hex() + _END
    if isinstance(key, datetime.datetime):
        if key.tzinfo is None or key.utcoffset() is None:
            return _DATETIME + key.replace(tzinfo=None).isoformat(timespec="microseconds")
        return _INSTANT + key.astimezone(datetime.timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds")
    if isinstance(key, datetime.date):
        return _DATE + key.isoformat()
    if isinstance(key, uuid.UUID):
        return _UUID + key.hex
    return _TUPLE + "".join(map(_written, key)) + _END


def _escaped(text: str) -> str:
    return text.replace("\0", "\0\1") + _END_OF_STR


def _number(number: int | float) -> str:
    """Its sign, the exponent and the digits of 0.ddd * 10**exponent; of a negative number, their complements."""
    if number == 0:
        return _ZERO
    if isinstance(number, int):
        digits = str(abs(number))
        exponent = len(digits) + _BIAS
    elif number in (float("inf"), -float("inf")):
        digits, exponent = "", _INFINITY
    else:
        _, parts, power = decimal.Decimal(repr(abs(number))).as_tuple()
        digits = "".join(map(str, parts))
        exponent = len(digits) + int(power) + _BIAS
    written = f"{exponent:05d}" + digits.rstrip("0")
    return _POSITIVE + written + _END if number > 0 else _NEGATIVE + written.translate(_COMPLEMENTS) + _END_OF_NEGATIVE


def _read(text: str, at: int) -> tuple[Any, int]:
    """The key at an offset, and the offset of its end."""
    kind, at = text[at : at + 1], at + 1
    if kind == _NONE:
        return None, at
    if kind == _TUPLE:
        items = []
        while text[at : at + 1] != _END:
            item, at = _read(text, at)
            items.append(item)
        return tuple(items), at + 1
    if kind in _FIXED:
        length, read = _FIXED[kind]
        return read(text[at : at + length]), at + length
    if kind == _NUMBER:
        return _read_number(text, at)
    if kind == _BYTES:
        end = text.index(_END, at)
        return bytes.fromhex(text[at:end]), end + 1
    if kind == _STR:
        return _read_str(text, at)
    if kind == _ENUM:
        module, at = _read_str(text, at)
        qualname, at = _read_str(text, at)
        name, at = _read_str(text, at)
        try:
            return _member(module, qualname, name), at
        except (ImportError, AttributeError, KeyError) as error:
            raise InvalidError(f"a key that is {module}.{qualname}.{name}, which is not found here: {error}") from error
    raise InvalidError(f"a key `{text}` that this version of coframe did not write: remove the dict, or its keys with `clear`")


def _read_str(text: str, at: int) -> tuple[str, int]:
    end = text.index(_END_OF_STR, at)
    return text[at:end].replace("\0\1", "\0"), end + 2


def _read_number(text: str, at: int) -> tuple[int | float, int]:
    if text[at] == _ZERO:
        return 0, at + 1
    is_negative = text[at] == _NEGATIVE
    end = text.index(_END_OF_NEGATIVE if is_negative else _END, at)
    written = text[at + 1 : end].translate(_COMPLEMENTS) if is_negative else text[at + 1 : end]
    exponent, digits = int(written[:5]), written[5:]
    number: int | float
    if exponent == _INFINITY:
        number = float("inf")
    elif exponent - _BIAS >= len(digits):
        number = int(digits.ljust(exponent - _BIAS, "0"))
    else:
        number = float(f"0.{digits}e{exponent - _BIAS}")
    return (-number if is_negative else number), end + 1


def _instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc)


#: Kinds whose strings have one length.
_FIXED: dict[str, tuple[int, Callable[[str], Any]]] = {
    _DATE: (10, datetime.date.fromisoformat),
    _DATETIME: (26, datetime.datetime.fromisoformat),
    _INSTANT: (26, _instant),
    _UUID: (32, uuid.UUID),
}

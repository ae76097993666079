"""Values and arrays in shared memory, under a lock or without one."""

from __future__ import annotations

import ctypes
import operator
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from . import _coframe, _numpy, _packages
from ._cells import Cell, Lock, Lockable, StoreLike
from ._errors import ArgumentTypeError, InvalidError
from ._types import Kind, as_elements, kind_of

#: What ``lock`` may be: the lock of the cell itself, none, or another one.
Guard = bool | Lock


class _Typed(Lockable):
    """A value or an array of some type."""

    _kind: Kind
    _guard: Guard

    def get_lock(self) -> Lockable:
        """The lock, for ``with value.get_lock():``."""
        if isinstance(self._guard, Lock):
            return self._guard
        if not self._guard:
            raise AttributeError(f"this {type(self).__name__.strip('_')} was made with lock=False: it has no lock")
        return self

    def _lock(self) -> _coframe.LockedCell:
        return self._open() if self._guard is True else self.get_lock()._open()

    def _restore(self, kind: Kind, _: object, guard: Guard) -> None:
        self._kind, self._guard = kind, guard

    def get_obj(self) -> Any:
        """The object of ``ctypes`` in shared memory. It takes no lock: hold it while you use the object.

        The memory stays mapped for as long as the object lives.
        """
        return self._at(self._kind.ctype)

    def _at(self, ctype: Any) -> Any:
        elements = self._open().elements("|u1")
        found = ctype.from_address(elements.__array_interface__["data"][0])
        # Objects of ctypes that are parts of this one keep it.
        found._coframe_memory = elements
        return found


def _attribute(name: str, doc: str) -> Any:
    """A property that is an attribute of the object of ``ctypes``, under the lock."""

    def read(cell: _Typed) -> Any:
        return _under_lock(cell, lambda: getattr(cell.get_obj(), name))

    def write(cell: _Typed, value: Any) -> None:
        _under_lock(cell, lambda: setattr(cell.get_obj(), name, value))

    return property(read, write, doc=doc)


class Value(_Typed):
    """A value under a lock, like ``multiprocessing.Value``: ``with value.get_lock(): value.value += 1``.

    ``typecode`` is a typecode of ``array``, a type of ``ctypes`` or a dtype of numpy. For a ``ctypes.Structure`` the other
    arguments are its fields, which are attributes of the value: ``point.x += 1``. They initialise a new value and are ignored
    if it exists.

    With ``lock=False`` it takes no lock, like an object of ``multiprocessing.RawValue``; ``lock`` may also be a :class:`Lock`
    or :class:`RLock`, which then guards it.
    """

    def __new__(cls, typecode: Any = None, *args: Any, **kwargs: Any) -> Value:
        # Unpickling passes the class itself, and no type.
        is_object = cls is Value and typecode is not None and kind_of(typecode).number is None
        return super().__new__(_Object if is_object else cls)

    def __init__(
        self, typecode: Any, value: Any = 0, *, lock: Guard = True, name: str | None = None, store: StoreLike = None
    ) -> None:
        self._kind, self._guard = kind_of(typecode), _checked(lock)
        first = int(bool(value)) if self._kind.number == "bool" else value
        super().__init__(self._maker(self._kind, first), name, store)

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        kind, value = arguments[:2]
        return lambda how, store, name: _coframe.LockedCell(kind.native, how, store, name, value)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._kind, None, self._guard)

    @property
    def value(self) -> Any:
        """The value, read under the lock that this thread holds, or one for this moment."""
        if self._guard is not True:
            return _under_lock(self, lambda: self.get_obj().value)
        value = self._open().get()
        return bool(value) if self._kind.number == "bool" else value

    @value.setter
    def value(self, value: Any) -> None:
        if self._guard is not True:
            _under_lock(self, lambda: setattr(self.get_obj(), "value", value))
        else:
            self._open().set(int(bool(value)) if self._kind.number == "bool" else value)


class _Object(Value):
    """A value of a type of ``ctypes`` that is not a number."""

    def __init__(
        self, typecode: Any, *args: Any, lock: Guard = True, name: str | None = None, store: StoreLike = None
    ) -> None:
        self._kind, self._guard = kind_of(typecode), _checked(lock)
        Cell.__init__(self, self._maker(self._kind), name, store)
        _check_size(self, name, ctypes.sizeof(self._kind.ctype))
        if self._made and args:
            _under_lock(self, lambda: self.get_obj().__init__(*args))

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        kind: Kind = arguments[0]
        return lambda how, store, name: _coframe.LockedCell("u8", how, store, name, None, ctypes.sizeof(kind.ctype))

    value = _attribute("value", "The value of a character or a string, read and written under the lock.")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in _fields(self.__dict__.get("_kind")):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return _under_lock(self, lambda: getattr(self.get_obj(), name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _fields(self.__dict__.get("_kind")):
            _under_lock(self, lambda: setattr(self.get_obj(), name, value))
        else:
            super().__setattr__(name, value)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *_fields(self._kind)]


def _fields(kind: Kind | None) -> list[str]:
    """The names of the fields of a structure, and of the characters of an array of them."""
    classes = () if kind is None else kind.ctype.__mro__
    names = [field[0] for cls in classes for field in cls.__dict__.get("_fields_", ())]
    is_string = kind is not None and issubclass(kind.ctype, ctypes.Array) and hasattr(kind.ctype, "raw")
    return [*names, "raw"] if is_string else names


def _checked(lock: Any) -> Guard:
    if isinstance(lock, (bool, Lock)):
        return lock
    raise ArgumentTypeError(f"lock of type {type(lock).__name__}: expected True, False, a coframe.Lock or a coframe.RLock")


def _under_lock(cell: _Typed, call: Callable[[], Any]) -> Any:
    if cell._guard is False:
        return call()
    lock = cell.get_lock()
    # A lock that is not reentrant cannot be taken again.
    if lock is not cell and lock._open().is_held():
        return call()
    with lock:
        return call()


def _check_size(cell: Lockable, name: str | None, expected: int) -> None:
    found = len(cell._open())
    if found != expected:
        raise InvalidError(f"the cell `{name}` has {found} bytes: expected {expected}")


class Array(_Typed):
    """Values of one type under a lock, like ``multiprocessing.Array``; :meth:`to_numpy` is the array in shared memory.

    ``size_or_values`` is the number of elements, all zero, or the values. An existing array of a name must have as many
    elements, and keeps its own. Elements of a ``ctypes.Structure`` are objects in shared memory: ``points[0].x = 1.5``.
    ``lock`` is as that of :class:`Value`.
    """

    def __new__(cls, typecode: Any = None, *args: Any, **kwargs: Any) -> Array:
        is_object = cls is Array and typecode is not None and kind_of(typecode).number is None
        return super().__new__(_Objects if is_object else cls)

    def __init__(
        self,
        typecode: Any,
        size_or_values: int | Iterable[Any],
        *,
        lock: Guard = True,
        name: str | None = None,
        store: StoreLike = None,
    ) -> None:
        self._kind, self._guard = kind_of(typecode), _checked(lock)
        size, values = _sized(size_or_values)
        super().__init__(self._maker(self._kind, size), name, store)
        if len(self) != size:
            raise InvalidError(f"the array `{name}` has {len(self)} numbers: expected {size}")
        if values and self._made:
            self._fill(values)

    def _fill(self, values: list[Any]) -> None:
        self._open().set([int(bool(value)) for value in values] if self._kind.number == "bool" else values)

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        # An existing one knows how many elements it has.
        kind, size = arguments[:2]
        size *= 1 if kind.number is not None else ctypes.sizeof(kind.ctype)
        return lambda how, store, name: _coframe.LockedCell(kind.native, how, store, name, None, size)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._kind, 0, self._guard)

    def get_obj(self) -> Any:
        return self._at(self._kind.ctype * len(self))

    def to_numpy(self) -> Any:
        """The elements as a numpy array: writable, in shared memory, and alive for as long as anything made from it.

        It takes no lock: hold it (``with array:``), or agree with the other processes which one writes where.
        """
        np = _packages.need("numpy", "Array.to_numpy")
        return np.asarray(self._open().elements(self._kind.typestr))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.to_numpy()
        return _numpy.as_asked(array, dtype, copy, f"the array `{self._text}`")

    def __len__(self) -> int:
        return len(self._open())

    def __iter__(self) -> Iterator[Any]:
        if self._guard is not True:
            return iter(self[:])
        values = self._open().get()
        return map(bool, values) if self._kind.number == "bool" else iter(values)

    def __getitem__(self, key: int | slice) -> Any:
        """An element or, of a range, a list; under the lock."""
        return _under_lock(self, lambda: self.to_numpy()[key].tolist())

    def __setitem__(self, key: int | slice, value: Any) -> None:
        """Sets an element or, of a range, as many as it has, under the lock. Integers take no fractions."""
        value = as_elements(self._kind, value, range(len(self))[key])
        _under_lock(self, lambda: self.to_numpy().__setitem__(key, value))


class _Objects(Array):
    """An array of a type of ``ctypes`` that is not a number."""

    def _fill(self, values: list[Any]) -> None:
        # As ctypes initialises arrays: a structure is an object of it, or a tuple of its fields.
        _under_lock(self, lambda: self.get_obj().__init__(*values))

    def to_numpy(self) -> Any:
        return _packages.need("numpy", "Array.to_numpy").ctypeslib.as_array(self.get_obj())

    def __len__(self) -> int:
        return len(self._open()) // ctypes.sizeof(self._kind.ctype)

    def __iter__(self) -> Iterator[Any]:
        values = self[:]
        # The elements of an array of characters are characters, those of bytes numbers.
        return (bytes([one]) for one in values) if isinstance(values, bytes) else iter(values)

    def __getitem__(self, key: int | slice) -> Any:
        return _under_lock(self, lambda: self.get_obj()[key])

    def __setitem__(self, key: int | slice, value: Any) -> None:
        _under_lock(self, lambda: self.get_obj().__setitem__(key, value))

    value = _attribute("value", "The string before its first NUL, of an array of characters.")
    raw = _attribute("raw", "All bytes of an array of ``c_char``.")


def _sized(size_or_values: int | Iterable[Any]) -> tuple[int, list[Any] | None]:
    # Numpy's integers are sizes as well; its arrays of one integer, which have an index too, are values.
    if hasattr(size_or_values, "__index__") and not hasattr(size_or_values, "__len__"):
        size = operator.index(cast("int", size_or_values))
        if size < 0:
            raise InvalidError(f"an array of {size} numbers: expected none or more")
        return size, None
    is_bytes = isinstance(size_or_values, bytes)
    values = [bytes([one]) for one in cast("bytes", size_or_values)] if is_bytes else list(cast("Iterable[Any]", size_or_values))
    return len(values), values


class AtomicArray(Cell[_coframe.AtomicArray]):
    """Numbers of 32 or 64 bits, each of which any process changes by itself, without a lock.

    No crash leaves a number inconsistent. To change several numbers together, use an :class:`Array`. Arguments are those of
    :class:`Array`.
    """

    def __init__(
        self, typecode: Any, size_or_values: int | Iterable[Any], *, name: str | None = None, store: StoreLike = None
    ) -> None:
        self._kind = kind_of(typecode)
        size, values = _sized(size_or_values)
        super().__init__(self._maker(self._kind, size), name, store)
        if len(self) != size:
            raise InvalidError(f"the array `{name}` has {len(self)} numbers: expected {size}")
        for index, value in enumerate(values or ()):
            if self._made:
                # Added, since others may have added to it already.
                self.add(index, value)

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        kind, size = (*arguments, 0)[:2]
        return lambda how, store, name: _coframe.AtomicArray(kind.number or "", how, store, name, size)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._kind,)

    def _restore(self, kind: Kind) -> None:
        self._kind = kind

    def __len__(self) -> int:
        return len(self._open())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._open().list())

    def __getitem__(self, index: int) -> Any:
        return self._found(index, lambda at: self._open().get(at))

    def __setitem__(self, index: int, value: Any) -> None:
        self._change("set", index, value)

    def add(self, index: int, value: Any) -> Any:
        """Adds to an element, and returns its new value. Integers wrap around."""
        return self._change("add", index, value)

    def max(self, index: int, value: Any) -> Any:
        """Raises an element to ``value`` if it is less, and returns its new value."""
        return self._change("max", index, value)

    def min(self, index: int, value: Any) -> Any:
        """Lowers an element to ``value`` if it is more, and returns its new value."""
        return self._change("min", index, value)

    def _change(self, method: str, index: int, value: Any) -> Any:
        return self._found(index, lambda at: self._open().change(method, at, value))

    def _found(self, index: int, call: Callable[[int], Any]) -> Any:
        size = len(self)
        at = operator.index(index)
        if not -size <= at < size:
            raise IndexError(f"element {index} of an array of {size}")
        return call(at % size)


class Latest(Cell[_coframe.Latest]):
    """The latest value that a process wrote. Readers never wait, and never see a part of one value and a part of another.

    Values are pickled, and take at most 4092 bytes. ``size`` is the room for them: 64, 256, 1024 or 4096 bytes, of which four
    are the length; by default, the least that has room for the first value. ``value`` initialises it and is ignored if it
    exists, with the same ``size``.
    """

    def __init__(self, value: Any = None, *, size: int | None = None, name: str | None = None, store: StoreLike = None) -> None:
        first = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        if size is None and (size := _coframe.Latest.size_for(len(first))) is None:
            raise InvalidError(f"a value of {len(first)} bytes: expected at most 4092; publish a frame, or use a Dict")
        if len(first) > size - 4:
            raise InvalidError(f"a value of {len(first)} bytes: expected at most {size - 4}")
        self._size = size
        super().__init__(self._maker(size, first), name, store)

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        size, first = (*arguments, b"")[:2]
        return lambda how, store, name: _coframe.Latest(size, how, store, name, first)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._size,)

    def _restore(self, size: int) -> None:
        self._size = size

    def read(self) -> Any:
        """The latest value."""
        return pickle.loads(self._open().read())

    def write(self, value: Any) -> None:
        """Replaces the value. Waits for another process that writes, never for readers; Ctrl-C ends the wait."""
        self._open().write(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

"""Frames, and their columns."""

from __future__ import annotations

import html
import operator
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, overload

from . import _maps, _origins, _packages, _pandas, _polars, _recent
from . import _numpy as _numpy_out
from ._coframe import Frame as _Native
from ._errors import ArgumentTypeError, ClosedError, ColumnNotFoundError, Error, InvalidError
from ._explain import Explain, explain
from ._handing import handed
from ._lifetime import explain_session, is_of_another_process
from ._names import KIND

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._lifetime import Lifetime


class Schema(dict[str, str]):
    """The Arrow type of each column, as text, by its name; whatever takes an Arrow schema takes it."""

    def __init__(self, native: _Native) -> None:
        super().__init__(zip(native.columns, native.types, strict=True))
        self._native = native

    def __arrow_c_schema__(self) -> object:
        return self._native.__arrow_c_schema__()

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, (dict(self),))


class Frame:
    """An immutable table in shared memory, or a part of one.

    The bytes stay readable for as long as the frame, or anything made from it, lives. Pickled, a frame is its handle:
    about 150 bytes, from which it reopens itself at its first use, in any process of this user on this machine. With the
    URL of a server (:func:`coframe.set_origin`) it is pulled once for each other machine.
    """

    __slots__ = ("__weakref__", "_freed", "_known", "_lifetime", "_native", "_origin", "_text")

    def __init__(self, handle: str) -> None:
        """Creates a frame that opens its handle at its first use."""
        if not isinstance(handle, str):
            raise ArgumentTypeError(f"a frame of {handle!r}: expected the str of a handle")
        text = _origins.arrived(handle)
        self._native: _Native | None = None
        self._text: str | None = text
        #: What the text of each part starts with, if the frame comes from another machine.
        self._origin: str | None = text.partition("?")[0] if _origins.is_remote(text) else None
        self._lifetime: Lifetime | None = None
        self._freed = False
        #: Categoricals whose keys Polars has read. They share the mapped bytes.
        self._known: dict[int, Any] = {}

    @classmethod
    def _of(cls, native: _Native, lifetime: Lifetime | None = None, origin: str | None = None) -> Frame:
        frame = cls.__new__(cls)
        frame._native, frame._text, frame._lifetime, frame._freed = native, None, lifetime, False
        frame._known, frame._origin = {}, origin
        return frame

    def _open(self) -> _Native:
        if self._native is None:
            if self._freed:
                raise ClosedError("the frame was freed: share it again, or keep it while a process uses it")
            text = self._identity()
            with explain_session(text):
                opened = _maps.opened(text) if self._origin is None else _origins.opened(text)
            # Another thread may have opened it meanwhile.
            if self._native is None:
                self._native = opened
        return self._native

    def _coframe_native(self) -> _Native:
        """What :func:`coframe.publish` reads of a frame, without knowing this class."""
        return self._open()

    # What it is.

    @property
    def name(self) -> str:
        """The name under which it was published."""
        return self._open().name

    @property
    def version(self) -> int:
        """The version that was opened; higher than that of every frame published before it in its store."""
        return self._open().version

    @property
    def handle(self) -> str:
        """The text that opens this frame, or this part of one, in another process: ``coframe.Frame(text)``."""
        if self._freed:
            self._open()
        text = self._identity()
        if self._lifetime is not None:
            # A process that has the text may open the frame at any time.
            self._lifetime.pin()
        return text

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return self._open().columns

    @property
    def schema(self) -> Schema:
        """The Arrow type of each column."""
        return Schema(self._open())

    @property
    def nbytes(self) -> int:
        """Size of the segment in bytes; the same for every part of it."""
        return self._open().bytes

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        native = self._open()
        return native.rows, len(native.columns)

    @property
    def created(self) -> datetime | None:
        """When it was published; ``None`` for a file that coframe did not write."""
        seconds = self._open().created
        return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)

    @property
    def metadata(self) -> dict[str, str]:
        """What the publisher attached."""
        return {key: value for key, value in self._open().metadata.items() if not key.startswith("coframe.")}

    def __len__(self) -> int:
        return self._open().rows

    def __bool__(self) -> bool:
        return True

    def __contains__(self, column: object) -> bool:
        return column in self.columns

    __iter__ = None

    # Parts of it.

    @overload
    def __getitem__(self, key: str) -> Column: ...
    @overload
    def __getitem__(self, key: list[str] | tuple[str, ...] | slice) -> Frame: ...
    def __getitem__(self, key: str | list[str] | tuple[str, ...] | slice) -> Column | Frame:
        """``frame["x"]`` a column, ``frame[["a", "b"]]`` some columns, ``frame[10:20]`` some rows. Copies nothing.

        A frame that came from pandas keeps the columns of its index.
        """
        native = self._open()
        if isinstance(key, str):
            return Column(self, self._position(key))
        if isinstance(key, slice):
            start, end, step = key.indices(native.rows)
            if step != 1:
                raise InvalidError(f"the row range {start}:{end}:{step}: expected a step of 1")
            return Frame._of(native.slice(start, max(start, end)), self._lifetime, self._origin)
        if isinstance(key, (list, tuple)) and all(isinstance(name, str) for name in key):
            for position, name in enumerate(key):
                self._position(name)
                if name in key[:position]:
                    raise InvalidError(f"frame[{key!r}]: column `{name}` appears twice")
            index = [name for name in _pandas.index_columns(native) if name not in key and name in native.columns]
            return Frame._of(native.select([*key, *index]), self._lifetime, self._origin)
        raise ArgumentTypeError(f"frame[{key!r}]: expected a column's name, a list of names or a range of rows")

    def _position(self, name: str) -> int:
        columns = self._open().columns
        if name not in columns:
            raise ColumnNotFoundError(f"column `{name}` not found in the frame `{self.name}`; it has {', '.join(columns)}")
        return columns.index(name)

    def split(self, n: int) -> list[Frame]:
        """Cuts the frame into ``n`` row ranges, in order, that differ by at most one row. Copies nothing."""
        parts = operator.index(n)
        if not 1 <= parts < 2**32:
            raise InvalidError(f"split({n}): expected at least one part" + ("" if parts < 1 else ", and no more than 2**32"))
        return [Frame._of(part, self._lifetime, self._origin) for part in self._open().split(parts)]

    def prefault(self, columns: Iterable[str] | None = None) -> int:
        """Maps the pages of these columns (all by default) before they are read, and returns their bytes.

        A scan of a frame that this process has just opened then causes no page faults. It takes as long as these faults on
        one core, and uses up to 8: it helps if other cores are idle, or if it runs before the values are needed.
        """
        native = self._open()
        return native.prefault(native.columns if columns is None else [columns] if isinstance(columns, str) else list(columns))

    # What it becomes.

    def to_polars(self) -> Any:
        """A DataFrame of Polars, on the mapped bytes.

        The first call reads the keys of categoricals; other values are not touched. What another process shared is read
        once, also if each task unpickles the frame.
        """
        native = self._open()
        known, text = self._known, self._identity()
        if is_of_another_process(text):
            known = _recent.categoricals(text, native, known)
        return handed("Polars", native, lambda part: _polars.data_frame(part, known if part is native else {}))

    def lazy(self) -> Any:
        """A LazyFrame of Polars, on the mapped bytes."""
        return self.to_polars().lazy()

    def to_arrow(self, *, views: bool = False) -> Any:
        """A Table of pyarrow, on the mapped bytes.

        Views are cast to large strings and binaries, which copies them: pyarrow cannot compare, filter, take or sort views.
        ``views=True`` shares them as they are.
        """
        return handed("pyarrow", self._open(), lambda part: _pandas.arrow_table(part, views))

    def to_pandas(self, *, dtypes: _pandas.Dtypes = "arrow", views: bool = False, writable: bool = False) -> Any:
        """A DataFrame of pandas with the index that it was published with.

        By default the columns are of ArrowDtype, on the mapped bytes (views cast as in :meth:`to_arrow`). ``dtypes="numpy"``
        gives the DataFrame that was published, as pickle would: numbers without nulls share the mapped bytes and are
        read-only, others are copied.

        With ``writable=True`` it may be changed like any DataFrame. Its numbers are on a private map of the same bytes, of
        which the kernel copies each page of 4 KiB at the first write; no other DataFrame or process sees the change.
        Columns of ArrowDtype never need it. A frame that did not come from pandas is copied, and so is one whose name was
        removed.
        """
        return handed("pandas", self._open(), lambda part: _pandas.data_frame(part, dtypes, views, writable))

    def to_table(self, *, writable: bool = False) -> Any:
        """The kind of table that was published: a DataFrame of Polars or pandas, a Table of pyarrow or a dict of arrays.

        pandas comes back with its own dtypes. A frame that was not published from Python is a DataFrame of Polars.
        ``writable=True`` is for pandas and numpy: see :meth:`to_pandas`.
        """
        kind = self._open().metadata.get(KIND)
        if kind == "pandas":
            return self.to_pandas(dtypes="numpy", writable=writable)
        if kind == "arrow":
            return self.to_arrow()
        if kind == "numpy":
            native = self._open()
            arrays = {name: self[name].to_numpy(writable=writable) for name in self.columns}
            return {name: _numpy_out.as_published(native, name, array) for name, array in arrays.items()}
        return self.to_polars()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._open().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        return self._open().__arrow_c_schema__()

    def explain(self) -> Explain:
        """Reports for each column how many bytes are shared, how many were copied, and what each library would copy."""
        return explain(self._open())

    def statistics(self) -> Any:
        """The statistics of ``publish(.., statistics=True)``, or ``None``: a Table of pyarrow with a row for each record batch.

        Each column of the frame is a struct: ``rows``, ``nulls``, ``min`` and ``max`` (bounds of the values that are not
        null), ``exact`` (both bounds are values). What is not known is null, and so are the bounds of types without an order.
        """
        native = self._open().statistics()
        return None if native is None else _packages.need("pyarrow", "Frame.statistics").table(native)

    # How it travels.

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpickled, (_origins.outgoing(self.handle),))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> str:
        if self._text is None:
            # Not as the property: the text is not passed on, and is unchanged when the frame is freed.
            text = self._open().handle
            self._text = text if self._origin is None else f"{self._origin}?{text.partition('?')[2]}"
        return self._text

    def __dask_tokenize__(self) -> str:
        """The id of the segment, which is the same on every machine, with the columns and rows of a part."""
        part = self._identity().partition("?")[2]
        # A file of another program has no id.
        return self._identity() if part.startswith(f"id={0:032x}") else part

    # How it looks.

    def __repr__(self) -> str:
        if self._native is None:
            return f"<coframe.Frame {'freed' if self._freed else self._text}>"
        native = self._native
        megabytes = native.bytes / 1e6
        return (
            f"<coframe.Frame {native.name}@{native.version}: {native.rows} rows, {len(native.columns)} columns, "
            f"{megabytes:.1f} MB>"
        )

    def _repr_html_(self) -> str:
        try:
            part = self[:10]
        except Error as error:
            return f"<p>{html.escape(repr(self))}</p><p>{html.escape(str(error))}</p>"
        head = f"<p>{html.escape(repr(self))}</p>"
        for package, method in (("polars", part.to_polars), ("pandas", part.to_pandas)):
            if _packages.installed(package):
                try:
                    return f"{head}{method()._repr_html_()}"
                except Exception:
                    # It cannot take these types: the next one may.
                    continue
        rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(kind)}</td></tr>" for name, kind in self.schema.items())
        return f"{head}<table><tr><th>column</th><th>type</th></tr>{rows}</table>"


def _unpickled(handle: str) -> Frame:
    """A frame that was pickled. It opens at its first use, so that an error comes there and not where a pool unpickles.

    What another process shared is opened now, if it can be: a worker that returned it may end before the first use, and
    a frame that is open stays readable.
    """
    frame = Frame(handle)
    if is_of_another_process(handle):
        with suppress(Exception):
            frame._open()
    return frame


class Column:
    """One column of a frame."""

    __slots__ = ("_frame", "_position")

    def __init__(self, frame: Frame, position: int) -> None:
        self._frame = frame
        self._position = position

    @property
    def name(self) -> str:
        """Its name."""
        return self._frame.columns[self._position]

    @property
    def type(self) -> str:
        """Its Arrow type, as text."""
        return self._frame._open().types[self._position]

    def __len__(self) -> int:
        return len(self._frame)

    def to_numpy(self, *, copy: bool | None = None, writable: bool = False) -> Any:
        """A numpy array: read-only and on the mapped bytes for columns of a fixed width without nulls.

        Copies what cannot be shared. ``copy=False`` raises :class:`coframe.WouldCopyError` with the reason instead.
        ``copy=True`` always gives a separate array. ``writable=True`` gives one that may be written to, on a private map of
        the same bytes, of which the kernel copies each page at its first write. Nulls become NaN, NaT or None. A column
        of lists of one length has two dimensions. Integers of 128 bits, and 64-bit ones beyond 2**53 next to nulls,
        become Python's in an array of objects, because every dtype of numpy would change them.
        """
        return handed("numpy", self._alone(), lambda part: _numpy_out.array(part, 0, copy, writable))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.to_numpy(copy=copy)
        return handed("numpy", self._alone(), lambda _: _numpy_out.as_asked(array, dtype, copy, f"column `{self.name}`"))

    def to_polars(self) -> Any:
        """A Series of Polars."""
        return handed("Polars", self._alone(), lambda part: _polars.data_frame(part, {}).to_series())

    def to_arrow(self, *, views: bool = False) -> Any:
        """A ChunkedArray of pyarrow."""
        return handed("pyarrow", self._alone(), lambda part: _pandas.arrow_table(part, views).column(0))

    def to_pandas(self, *, dtypes: _pandas.Dtypes = "arrow", views: bool = False) -> Any:
        """A Series of pandas, with the index of its frame."""
        native = self._frame[[self.name]]._open()
        return handed("pandas", native, lambda part: _pandas.series(part, self.name, dtypes, views))

    def _alone(self) -> _Native:
        return self._frame._open().select([self.name])

    def __repr__(self) -> str:
        return f"<coframe.Column {self.name} of {self._frame!r}: {self.type}>"

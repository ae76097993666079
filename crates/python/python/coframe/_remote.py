"""Frames of other machines: the program ``coframe-flight`` does the work.

A server, and each pull, is a process of that program, so the extension needs no network library.
"""

from __future__ import annotations

import builtins
import json
import math
import operator
import os
import signal
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from . import _flight, _origins
from ._errors import ArgumentTypeError, ClosedError, InvalidError, NotFoundError
from ._frame import Frame
from ._store import Store, _check_number, _check_text, _time, store_of

_Path = str | os.PathLike[str]


@dataclass(frozen=True)
class RemoteFrame:
    """The latest version of one name of a server."""

    name: str
    version: int
    num_rows: int
    num_columns: int
    size_bytes: int
    created: datetime | None
    #: 32 hexadecimal digits, the same in every mirror; ``None`` for a file of another program, which cannot be pulled.
    segment_id: str | None
    #: What the publisher attached.
    metadata: dict[str, str]


class Remote:
    """A store that another machine serves; created by :func:`connect`.

    It can be pickled. In another process, or on another machine, it pulls into the store of that machine.
    """

    def __init__(self, url: str, *, token_file: _Path | None, ca: _Path | None, ranges: int | None, store: Store) -> None:
        self.url = url
        self._store = store
        self._options = _flight.options(token_file=token_file, ca=ca, ranges=ranges)

    def list(self) -> builtins.list[RemoteFrame]:
        """The names of the server with their latest versions, in order."""
        frames = self._ask("--remote", self.url, "ls")["frames"]
        return [
            RemoteFrame(
                frame["name"],
                frame["version"],
                frame["rows"],
                frame["columns"],
                frame["bytes"],
                _time(None if frame["created"] is None else frame["created"] / 1000),
                frame["id"],
                {key: value for key, value in frame["metadata"].items() if not key.startswith("coframe.")},
            )
            for frame in frames
        ]

    def open(self, name: str) -> Frame:
        """Opens the latest version of a frame of the server. Pulls it first if the local store does not have its segment.

        Of all processes of a machine that want it at the same time, one pulls it.
        """
        return self.pull(name)

    def pull(self, name: str, *, version: int | None = None, into: str | None = None) -> Frame:
        """Copies a frame of the server into the local store, unless the store has it, and opens it.

        ``version``: the version on the server, the latest by default. ``into``: the name in the local store, the same by
        default. The mirror has the same bytes, which were validated in full.
        """
        _check_text("name", name)
        if version is not None:
            _check_number("version", version, "a version")
        if into is not None:
            _check_text("into", into)
        found = _flight.pull(self._store.path, self._options, self.url, name, version, into)
        return self._store.open(found["name"], version=found["version"])

    def push(self, name: str, *, into: str | None = None) -> int:
        """Publishes the latest version of a frame of the local store on the server, and returns its version on the server.

        The server must have been started with ``write=True``.
        """
        _check_text("name", name)
        options = []
        if into is not None:
            _check_text("into", into)
            options += ["--as", into]
        return int(self._ask("push", *options, "--", self.url, name)["version"])

    def wait(self, name: str, newer_than: int = 0, timeout: float | None = None) -> int | None:
        """Blocks until the latest version on the server is above ``newer_than``, and returns it; ``None`` on a timeout."""
        _check_text("name", name)
        _check_number("newer_than", newer_than, "a version")
        options = ["--newer-than", str(newer_than)]
        if timeout is not None:
            if not (isinstance(timeout, (int, float)) and math.isfinite(timeout) and timeout >= 0):
                raise InvalidError(f"timeout is {timeout!r}, expected seconds")
            options += ["--timeout", repr(float(timeout))]
        try:
            return int(self._ask("--remote", self.url, "wait", *options, "--", name)["version"])
        except NotFoundError:
            return None

    def _ask(self, *arguments: str) -> Any:
        return _flight.ask(self._store.path, *self._options, *arguments)

    def __repr__(self) -> str:
        return f"<coframe.Remote {self.url}>"


class Server:
    """A running server of a store; created by :func:`serve`. It stops when it is closed, and when this process ends."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        #: What other machines pass to :func:`connect`.
        self.url = url

    def close(self) -> None:
        """Stops the server. Streams may go on for ten seconds."""
        # The server ends with its standard input, and so with this process, however that ends.
        _stream(self._process.stdin).close()
        self._process.wait()
        _stream(self._process.stdout).close()

    def reload_tokens(self) -> None:
        """Makes the server read the file of its tokens again."""
        if self._process.poll() is not None:
            raise ClosedError("the server has ended")
        self._process.send_signal(signal.SIGHUP)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        raise ArgumentTypeError("a server cannot be pickled; pass its url")

    def __repr__(self) -> str:
        return f"<coframe.Server {self.url}>"


def serve(
    store: Store | _Path | None = None,
    *,
    address: str = "127.0.0.1:0",
    write: bool = False,
    tokens: _Path | None = None,
    cert: _Path | None = None,
    key: _Path | None = None,
    insecure: bool = False,
) -> Server:
    """Serves the frames of a store to other machines over Arrow Flight, until the server is closed.

    ``address``: port 0 takes a free one. Every user of this machine can connect to 127.0.0.1; an address that other
    machines can reach needs ``tokens``, ``cert`` and ``key``, or ``insecure=True``. ``write``: whether callers may
    publish and remove frames.
    """
    options = _flight.options(address=address, tokens=tokens, cert=cert, key=key)
    options += ["--write"] * bool(write) + ["--insecure"] * bool(insecure)
    command = [_flight.program(), "--json", "--store", store_of(store).path, "serve", "--until-input-ends", *options]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    line = _stream(process.stdout).readline()
    errors = _stream(process.stderr)
    if not line:
        message = errors.read()
        _stream(process.stdin).close()
        raise _flight.error(process.wait(), message)
    # What it prints later is not shown, but a server whose standard error is closed would end.
    threading.Thread(target=_drain, args=(errors,), name="coframe-serve", daemon=True).start()
    return Server(process, json.loads(line)["url"])


def connect(
    url: str,
    *,
    token_file: _Path | None = None,
    ca: _Path | None = None,
    ranges: int | None = None,
    store: Store | _Path | None = None,
) -> Remote:
    """The store that a server on another machine serves: ``http://host:port``, or ``https://host:port`` with TLS.

    ``token_file``: a file with the token, which only you can read. ``ca``: the certificate of the authority that signed
    the server's, by default those of this machine. ``ranges``: the number of ranges of a frame that a pull fetches at a time,
    each over a separate connection; 1 by default, 64 at most. Several are faster if the network limits each connection.
    ``store``: where frames are pulled to. Connects with each call.
    """
    _check_text("url", url)
    return Remote(url, token_file=token_file, ca=ca, ranges=_checked_ranges(ranges), store=store_of(store))


def set_origin(url: str | None, *, store: Store | _Path | None = None) -> None:
    """Makes frames of a store carry the URL of its server when this process pickles them: ``http://host:port``.

    Another machine that allows the URL (:func:`allow_origin`) pulls such a frame at its first use. ``None``: no longer.
    The environment variable ``COFRAME_ORIGIN`` does the same for the default store. Frames that :func:`coframe.share` made
    are not served, and never carry a URL.
    """
    _origins.serve_as(os.path.realpath(store_of(store).path), url)


def allow_origin(
    url: str, *, token_file: _Path | None = None, ca: _Path | None = None, ranges: int | None = None
) -> None:
    """Lets this process pull frames from a server when it first uses them, into the default store.

    ``token_file``: a file with the token for the server, which only you can read. ``ca``: the certificate of the authority
    that signed the server's. ``ranges``: as in :func:`connect`. The environment variable ``COFRAME_ALLOWED_ORIGINS`` has
    URLs between commas, for all of which ``COFRAME_TOKEN_FILE`` has the token.
    """
    _origins.allow(url, token_file, ca, _checked_ranges(ranges))


def prefetch(frames: Frame | Iterable[Frame]) -> None:
    """Pulls frames that this machine does not have, and opens them. Of all processes of a machine, one pulls a frame.

    Call it on each machine before the tasks: ``client.run(coframe.prefetch, frame)`` in Dask.
    """
    for frame in [frames] if isinstance(frames, Frame) else frames:
        if not isinstance(frame, Frame):
            raise ArgumentTypeError(f"prefetch({frame!r:.100}): expected a frame, or several")
        frame._open()


def _checked_ranges(ranges: int | None) -> int | None:
    if ranges is None:
        return None
    _check_number("ranges", ranges, "1 to 64", 65)
    if not ranges:
        raise InvalidError(f"ranges={ranges!r}: expected 1 to 64")
    return operator.index(ranges)


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None, "made with a pipe"
    return stream


def _drain(stream: IO[str]) -> None:
    with stream:
        for _ in stream:
            pass

"""Frames on other machines: the origin that a pickle carries, and the origins from which this process may pull.

A frame of another machine is the text ``URL#HANDLE``, as ``RemoteHandle`` of Rust writes it. The text is data: a process
pulls only from servers that its user has allowed.
"""

from __future__ import annotations

import os
import threading
import zlib
from typing import NamedTuple

from ._coframe import Frame as Native
from ._coframe import Store as NativeStore
from ._errors import ArgumentTypeError, Error, InvalidError, NotFoundError, UntrustedError
from ._places import LastStore, default_path

_Path = str | os.PathLike[str]
_LONGEST_NAME = 180


class _Access(NamedTuple):
    token_file: _Path | None
    ca: _Path | None
    ranges: int | None


class _Settings:
    """What the environment says, until a call says otherwise."""

    def __init__(self) -> None:
        #: The URL at which others reach a store, by its directory.
        self.own: dict[str, str] = {}
        self.allowed: dict[str, _Access] = {}
        if url := os.environ.get("COFRAME_ORIGIN"):
            self.own[_default_store()] = _checked(url)
        access = _Access(os.environ.get("COFRAME_TOKEN_FILE") or None, None, None)
        for url in filter(None, map(str.strip, os.environ.get("COFRAME_ALLOWED_ORIGINS", "").split(","))):
            self.allowed[_checked(url)] = access


class _Parsed(NamedTuple):
    url: str
    handle: str
    #: The directory of the store at the origin, still escaped.
    store: str
    name: str
    version: int
    id: str


_settings: _Settings | None = None
#: The default store.
_store = LastStore(NativeStore)
#: One pull at a time in a process; the others find the mirror. Between processes the program has its own turn.
_turn = threading.Lock()


def serve_as(directory: str, url: str | None) -> None:
    """Makes frames of the store in this directory carry a URL when they are pickled; ``None``: no longer."""
    own = _loaded().own
    if url is None:
        own.pop(directory, None)
    else:
        own[directory] = _checked(url)


def allow(url: str, token_file: _Path | None, ca: _Path | None, ranges: int | None) -> None:
    """Lets this process pull from a server."""
    _loaded().allowed[_checked(url)] = _Access(token_file, ca, ranges)


def is_remote(text: str) -> bool:
    """Whether a text is a handle with a URL."""
    return text.startswith(("http://", "https://"))


def outgoing(text: str) -> str:
    """The text of a frame as it is pickled: with the URL of its store, if it has one and the frame can be served."""
    own = _loaded().own
    if not own or is_remote(text) or "&session=" in text or f"?id={0:032x}" in text:
        return text
    url = own.get(_directory(text.removeprefix("coframe:").partition("?")[0].rpartition("/")[0]))
    return text if url is None else f"{url}#{text}"


def arrived(text: str) -> str:
    """The text with which this process opens a frame that arrived: without the URL, if it is that of the same store."""
    if not is_remote(text):
        return text
    url, _, handle = text.partition("#")
    return handle if outgoing(handle) == f"{url}#{handle}" else text


def opened(text: str) -> Native:
    """Opens the frame of a handle with a URL. Pulls it if the local store does not have its segment."""
    parsed = _parsed(text)
    if (found := _local(parsed)) is not None:
        return found
    access = _loaded().allowed.get(parsed.url)
    if access is None:
        return _of_this_machine(parsed)
    with _turn:
        return _local(parsed) or _pulled(parsed, access)


def _local(parsed: _Parsed) -> Native | None:
    store = _store.open(default_path())
    return None if store is None else store.open_mirror(parsed.handle, [_mirror_name(parsed), parsed.name])


def _pulled(parsed: _Parsed, access: _Access) -> Native:
    # Its modules for processes take longer to import than all that a frame needs.
    from . import _flight

    store = NativeStore(None)
    options = _flight.options(token_file=access.token_file, ca=access.ca, ranges=access.ranges)
    pulled = _flight.pull(store.path, options, parsed.url, parsed.name, parsed.version, _mirror_name(parsed))
    # Held until it is opened by its id, or a newer version could have it swept.
    mirror = store.open(pulled["name"], pulled["version"])
    found = _local(parsed)
    if found is None:
        what = f"`{mirror.name}@{mirror.version}`, pulled as `{parsed.name}@{parsed.version}` of {parsed.url},"
        raise NotFoundError(f"{what} is another segment than {parsed.id}: the store of the origin was created again; publish the frame again")
    return found


def _of_this_machine(parsed: _Parsed) -> Native:
    """A frame of another store of this machine, for a process that pulls nothing."""
    try:
        return Native.from_handle(parsed.handle)
    except Error as error:
        what = f"the frame `{parsed.name}@{parsed.version}` is not in the local store, and its origin {parsed.url} is not allowed"
        raise UntrustedError(f"{what}: call coframe.allow_origin, or set COFRAME_ALLOWED_ORIGINS, in the processes that use it") from error


def _mirror_name(parsed: _Parsed) -> str:
    """The name of mirrors: one for each name of an origin, so that a newer version replaces an unused older one."""
    name = f"_from.{zlib.crc32(parsed.url.encode()):08x}.{parsed.name}"
    return name if len(name) <= _LONGEST_NAME else f"_from.{parsed.id}"


def _parsed(text: str) -> _Parsed:
    url, _, handle = text.partition("#")
    place, _, query = handle.removeprefix("coframe:").partition("?")
    store, _, frame = place.rpartition("/")
    name, _, version = frame.rpartition("@")
    fields = query.split("&")
    has_all = handle.startswith("coframe:/") and name and version.isdecimal() and fields[0].startswith("id=")
    if not has_all or any(field.startswith("session=") for field in fields):
        raise InvalidError(f"`{text:.200}` is not a frame of another machine: expected URL#coframe:.., as pickle writes it")
    return _Parsed(_checked(url), handle, store, name, int(version), fields[0].removeprefix("id="))


def _directory(escaped: str) -> str:
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes(escaped))


def _checked(url: str) -> str:
    if not isinstance(url, str):
        raise ArgumentTypeError(f"url={url!r:.100}: expected a str")
    if not is_remote(url) or "#" in url:
        raise InvalidError(f"url={url!r:.100}: expected http://HOST:PORT or, with TLS, https://HOST:PORT")
    return url.rstrip("/")


def _default_store() -> str:
    return os.path.realpath(default_path())


def _loaded() -> _Settings:
    global _settings
    if _settings is None:
        _settings = _Settings()
    return _settings


def _after_fork() -> None:
    global _turn
    # Another thread of the parent may have held it.
    _turn = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

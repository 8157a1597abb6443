from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Generator, Optional

import httpx

from . import _session_wire, _wire
from ._iteration import Stream
from ._session_models import FileChange, FileInfo, FileList

if TYPE_CHECKING:
    from ._client import BoxerClient


class SessionFiles:
    """
    Files of a session, with the rights of its user. Relative paths start at the session's working directory.

    A path that does not exist raises :class:`BoxerNotFoundError`, and other failures :class:`BoxerAPIError`. With ``resume=True``, each call
    resumes a session that is paused.
    """

    def __init__(self, client: BoxerClient, paths: _session_wire.SessionPaths) -> None:
        self._client = client
        self._paths = paths

    def read(self, path: str, *, max_bytes: Optional[int] = None, resume: bool = False) -> bytes:
        """
        Returns the content of a file.

        max_bytes: maximum size; raises :class:`BoxerError` if the file is larger; default no limit.
        """
        return self._client._download(self._paths.file("GET", "", {"path": path}).resuming(resume), max_bytes)

    def stream(self, path: str, *, resume: bool = False) -> FileStream:
        """Returns the content of a file as an iterator of bytes. Iterating sends the request."""
        return FileStream(self._client._http, self._paths.file("GET", "", {"path": path}).resuming(resume))

    def write(self, path: str, content: _wire.Pieces, *, mode: Optional[str] = None, resume: bool = False) -> None:
        """
        Creates or replaces a file.

        content: bytes, text (as UTF-8), or the rest of a binary file object or of an iterator of bytes, which are sent as they are read.
        mode: permission bits in octal, such as ``"0755"``; default ``"0644"``, or unchanged for a file that exists.
        """
        params: Dict[str, str] = {"path": path} if mode is None else {"path": path, "mode": mode}
        self._send(self._paths.upload("", params, _wire.pieces(content)), resume)

    def list(self, path: str = ".", *, depth: int = 1, resume: bool = False) -> FileList:
        """
        Returns the entries of a directory.

        depth: 1 for the directory alone; more for its subdirectories too.
        """
        return _session_wire.file_list(self._send(self._paths.file("GET", "/list", {"path": path, "depth": depth}), resume))

    def stat(self, path: str, *, resume: bool = False) -> FileInfo:
        """Describes one file, directory or link."""
        return _session_wire.file_info(self._send(self._paths.file("GET", "/stat", {"path": path}), resume))

    def mkdir(self, path: str, *, resume: bool = False) -> None:
        """Creates a directory, and its parents if they are missing."""
        self._send(self._paths.file_post("/mkdir", {"path": path}), resume)

    def move(self, source: str, target: str, *, resume: bool = False) -> None:
        """Renames a file or directory."""
        self._send(self._paths.file_post("/move", {"from": source, "to": target}), resume)

    def remove(self, path: str, *, resume: bool = False) -> None:
        """Removes a file, or a directory with its entries."""
        self._send(self._paths.remove(path), resume)

    def read_tar(self, path: str = ".", *, max_bytes: Optional[int] = None, resume: bool = False) -> bytes:
        """
        Returns a directory as a tar archive. The archive is untrusted: unpack it into an empty directory.

        max_bytes: maximum size; raises :class:`BoxerError` if the archive is larger; default no limit.
        """
        return self._client._download(self._paths.file("GET", "/tar", {"path": path}).resuming(resume), max_bytes)

    def stream_tar(self, path: str = ".", *, resume: bool = False) -> FileStream:
        """Returns a directory as a tar archive, as an iterator of bytes; see :meth:`read_tar` and :meth:`stream`."""
        return FileStream(self._client._http, self._paths.file("GET", "/tar", {"path": path}).resuming(resume))

    def write_tar(self, path: str, content: _wire.Pieces, *, resume: bool = False) -> None:
        """Unpacks a tar archive, plain or compressed with gzip, into a directory. For ``content`` see :meth:`write`."""
        self._send(self._paths.upload("/tar", {"path": path}, _wire.pieces(content)), resume)

    def watch(self, path: str = ".", *, resume: bool = False) -> FileWatch:
        """
        Watches a file, or a directory and what is below it.

        Changes after this call are reported. If the connection breaks, the iterator raises :class:`BoxerConnectionError`: watch again, and
        list the directory, because changes in between are not kept.
        """
        return FileWatch(self._client._http, self._paths.watch(path).resuming(resume))

    def _send(self, call: _wire.Call, resume: bool) -> httpx.Response:
        response = self._client._send(call.resuming(resume))
        _wire.check_status(response)
        return response


class FileStream(Stream[bytes]):
    """The content of a file or an archive: an iterator of bytes, and a context manager that closes it."""

    def __init__(self, http: httpx.Client, call: _wire.Call) -> None:
        super().__init__(self._read(http, call))

    @staticmethod
    def _read(http: httpx.Client, call: _wire.Call) -> Generator[bytes, None, None]:
        with _wire.answer(http, call) as response:
            yield from response.iter_bytes()


class FileWatch(Stream[FileChange]):
    """The changes of a watched file or directory: an iterator, and a context manager that closes it, which ends the watch."""

    def __init__(self, http: httpx.Client, call: _wire.Call) -> None:
        super().__init__(self._read(http, call))
        # The first event is the start.
        next(self)

    @staticmethod
    def _read(http: httpx.Client, call: _wire.Call) -> Generator[FileChange, None, None]:
        reader = _session_wire.ChangeReader()
        with _wire.answer(http, call) as response:
            _wire.check_events(response)
            for chunk in response.iter_bytes():
                yield from reader.feed(chunk)
        raise _session_wire.watch_ended()

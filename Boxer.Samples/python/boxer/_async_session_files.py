from __future__ import annotations

from typing import TYPE_CHECKING, AsyncGenerator, Dict, Optional

import httpx

from . import _session_wire, _wire
from ._iteration import AsyncStream
from ._session_models import FileChange, FileInfo, FileList

if TYPE_CHECKING:
    from ._async_client import AsyncBoxerClient


class AsyncSessionFiles:
    """Files of a session; see :class:`SessionFiles`."""

    def __init__(self, client: AsyncBoxerClient, paths: _session_wire.SessionPaths) -> None:
        self._client = client
        self._paths = paths

    async def read(self, path: str, *, max_bytes: Optional[int] = None, resume: bool = False) -> bytes:
        """Returns the content of a file; see :meth:`SessionFiles.read`."""
        return await self._client._download(self._paths.file("GET", "", {"path": path}).resuming(resume), max_bytes)

    def stream(self, path: str, *, resume: bool = False) -> AsyncFileStream:
        """Returns the content of a file as an iterator of bytes; see :meth:`SessionFiles.stream`. Use ``async with`` if a loop over it may end early."""
        return AsyncFileStream(self._client._http, self._paths.file("GET", "", {"path": path}).resuming(resume))

    async def write(self, path: str, content: _wire.AsyncPieces, *, mode: Optional[str] = None, resume: bool = False) -> None:
        """Creates or replaces a file; see :meth:`SessionFiles.write`. Asynchronous iterators are accepted too; other files and iterators block."""
        params: Dict[str, str] = {"path": path} if mode is None else {"path": path, "mode": mode}
        await self._send(self._paths.upload("", params, _wire.async_pieces(content)), resume)

    async def list(self, path: str = ".", *, depth: int = 1, resume: bool = False) -> FileList:
        """Returns the entries of a directory; see :meth:`SessionFiles.list`."""
        return _session_wire.file_list(await self._send(self._paths.file("GET", "/list", {"path": path, "depth": depth}), resume))

    async def stat(self, path: str, *, resume: bool = False) -> FileInfo:
        """Describes one file, directory or link."""
        return _session_wire.file_info(await self._send(self._paths.file("GET", "/stat", {"path": path}), resume))

    async def mkdir(self, path: str, *, resume: bool = False) -> None:
        """Creates a directory, and its parents if they are missing."""
        await self._send(self._paths.file_post("/mkdir", {"path": path}), resume)

    async def move(self, source: str, target: str, *, resume: bool = False) -> None:
        """Renames a file or directory."""
        await self._send(self._paths.file_post("/move", {"from": source, "to": target}), resume)

    async def remove(self, path: str, *, resume: bool = False) -> None:
        """Removes a file, or a directory with its entries."""
        await self._send(self._paths.remove(path), resume)

    async def read_tar(self, path: str = ".", *, max_bytes: Optional[int] = None, resume: bool = False) -> bytes:
        """Returns a directory as a tar archive; see :meth:`SessionFiles.read_tar`."""
        return await self._client._download(self._paths.file("GET", "/tar", {"path": path}).resuming(resume), max_bytes)

    def stream_tar(self, path: str = ".", *, resume: bool = False) -> AsyncFileStream:
        """Returns a directory as a tar archive, as an iterator of bytes; see :meth:`SessionFiles.stream_tar`."""
        return AsyncFileStream(self._client._http, self._paths.file("GET", "/tar", {"path": path}).resuming(resume))

    async def write_tar(self, path: str, content: _wire.AsyncPieces, *, resume: bool = False) -> None:
        """Unpacks a tar archive into a directory; see :meth:`SessionFiles.write_tar`."""
        await self._send(self._paths.upload("/tar", {"path": path}, _wire.async_pieces(content)), resume)

    def watch(self, path: str = ".", *, resume: bool = False) -> AsyncFileWatch:
        """
        Watches a file, or a directory and what is below it; see :meth:`SessionFiles.watch`.

        Changes are reported from the start of ``async with`` on, or from the first step of a loop without it.
        """
        return AsyncFileWatch(self._client._http, self._paths.watch(path).resuming(resume))

    async def _send(self, call: _wire.Call, resume: bool) -> httpx.Response:
        response = await self._client._send(call.resuming(resume))
        _wire.check_status(response)
        return response


class AsyncFileStream(AsyncStream[bytes]):
    """The content of a file or an archive: an asynchronous iterator of bytes, and a context manager that closes it."""

    def __init__(self, http: httpx.AsyncClient, call: _wire.Call) -> None:
        super().__init__(self._read(http, call))

    @staticmethod
    async def _read(http: httpx.AsyncClient, call: _wire.Call) -> AsyncGenerator[bytes, None]:
        async with _wire.async_answer(http, call) as response:
            async for piece in response.aiter_bytes():
                yield piece


class AsyncFileWatch(AsyncStream[FileChange]):
    """The changes of a watched file or directory: an asynchronous iterator, and a context manager that closes it, which ends the watch."""

    def __init__(self, http: httpx.AsyncClient, call: _wire.Call) -> None:
        self._started = False
        super().__init__(self._read(http, call))

    async def __anext__(self) -> FileChange:
        await self._start()
        return await super().__anext__()

    async def __aenter__(self) -> AsyncFileWatch:
        await self._start()
        return self

    async def _start(self) -> None:
        # The first event is the start.
        if not self._started:
            self._started = True
            await super().__anext__()

    @staticmethod
    async def _read(http: httpx.AsyncClient, call: _wire.Call) -> AsyncGenerator[FileChange, None]:
        reader = _session_wire.ChangeReader()
        async with _wire.async_answer(http, call) as response:
            _wire.check_events(response)
            async for chunk in response.aiter_bytes():
                for change in reader.feed(chunk):
                    yield change
        raise _session_wire.watch_ended()

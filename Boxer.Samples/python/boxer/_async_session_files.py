from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional

import httpx

from . import _session_wire, _wire
from ._session_models import FileInfo, FileList

if TYPE_CHECKING:
    from ._async_client import AsyncBoxerClient


class AsyncSessionFiles:
    """Files of a session; see :class:`SessionFiles`."""

    def __init__(self, client: AsyncBoxerClient, paths: _session_wire.SessionPaths) -> None:
        self._client = client
        self._paths = paths

    async def read(self, path: str, *, max_bytes: Optional[int] = None) -> bytes:
        """Returns the content of a file; see :meth:`SessionFiles.read`."""
        return await self._client._download(self._paths.file("GET", "", {"path": path}), max_bytes)

    async def write(self, path: str, content: _wire.Content, *, mode: Optional[str] = None) -> None:
        """Creates or replaces a file; see :meth:`SessionFiles.write`."""
        params: Dict[str, str] = {"path": path} if mode is None else {"path": path, "mode": mode}
        await self._send(self._paths.file("PUT", "", params, _wire.content_bytes(content)))

    async def list(self, path: str = ".", *, depth: int = 1) -> FileList:
        """Returns the entries of a directory; see :meth:`SessionFiles.list`."""
        return _session_wire.file_list(await self._send(self._paths.file("GET", "/list", {"path": path, "depth": depth})))

    async def stat(self, path: str) -> FileInfo:
        """Describes one file, directory or link."""
        return _session_wire.file_info(await self._send(self._paths.file("GET", "/stat", {"path": path})))

    async def mkdir(self, path: str) -> None:
        """Creates a directory, and its parents if they are missing."""
        await self._send(self._paths.file_post("/mkdir", {"path": path}))

    async def move(self, source: str, target: str) -> None:
        """Renames a file or directory."""
        await self._send(self._paths.file_post("/move", {"from": source, "to": target}))

    async def remove(self, path: str) -> None:
        """Removes a file, or a directory with its entries."""
        await self._send(self._paths.file("DELETE", "", {"path": path}))

    async def read_tar(self, path: str = ".", *, max_bytes: Optional[int] = None) -> bytes:
        """Returns a directory as a tar archive; see :meth:`SessionFiles.read_tar`."""
        return await self._client._download(self._paths.file("GET", "/tar", {"path": path}), max_bytes)

    async def write_tar(self, path: str, content: _wire.Content) -> None:
        """Unpacks a tar archive into a directory."""
        await self._send(self._paths.file("PUT", "/tar", {"path": path}, _wire.content_bytes(content)))

    async def _send(self, call: _wire.Call) -> httpx.Response:
        response = await self._client._send(call)
        _wire.check_status(response)
        return response

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional

import httpx

from . import _session_wire, _wire
from ._session_models import FileInfo, FileList

if TYPE_CHECKING:
    from ._client import BoxerClient


class SessionFiles:
    """
    Files of a session, with the rights of its user. Relative paths start at the session's working directory.

    A path that does not exist raises :class:`BoxerNotFoundError`, and other failures :class:`BoxerAPIError`.
    """

    def __init__(self, client: BoxerClient, paths: _session_wire.SessionPaths) -> None:
        self._client = client
        self._paths = paths

    def read(self, path: str, *, max_bytes: Optional[int] = None) -> bytes:
        """
        Returns the content of a file.

        max_bytes: maximum size; raises :class:`BoxerError` if the file is larger; default no limit.
        """
        return self._client._download(self._paths.file("GET", "", {"path": path}), max_bytes)

    def write(self, path: str, content: _wire.Content, *, mode: Optional[str] = None) -> None:
        """
        Creates or replaces a file with bytes, text (as UTF-8) or the rest of a binary file object.

        mode: permission bits in octal, such as ``"0755"``; default ``"0644"``, or unchanged for a file that exists.
        """
        params: Dict[str, str] = {"path": path} if mode is None else {"path": path, "mode": mode}
        self._send(self._paths.file("PUT", "", params, _wire.content_bytes(content)))

    def list(self, path: str = ".", *, depth: int = 1) -> FileList:
        """
        Returns the entries of a directory.

        depth: 1 for the directory alone; more for its subdirectories too.
        """
        return _session_wire.file_list(self._send(self._paths.file("GET", "/list", {"path": path, "depth": depth})))

    def stat(self, path: str) -> FileInfo:
        """Describes one file, directory or link."""
        return _session_wire.file_info(self._send(self._paths.file("GET", "/stat", {"path": path})))

    def mkdir(self, path: str) -> None:
        """Creates a directory, and its parents if they are missing."""
        self._send(self._paths.file_post("/mkdir", {"path": path}))

    def move(self, source: str, target: str) -> None:
        """Renames a file or directory."""
        self._send(self._paths.file_post("/move", {"from": source, "to": target}))

    def remove(self, path: str) -> None:
        """Removes a file, or a directory with its entries."""
        self._send(self._paths.file("DELETE", "", {"path": path}))

    def read_tar(self, path: str = ".", *, max_bytes: Optional[int] = None) -> bytes:
        """
        Returns a directory as a tar archive. The archive is untrusted: unpack it into an empty directory.

        max_bytes: maximum size; raises :class:`BoxerError` if the archive is larger; default no limit.
        """
        return self._client._download(self._paths.file("GET", "/tar", {"path": path}), max_bytes)

    def write_tar(self, path: str, content: _wire.Content) -> None:
        """Unpacks a tar archive into a directory."""
        self._send(self._paths.file("PUT", "/tar", {"path": path}, _wire.content_bytes(content)))

    def _send(self, call: _wire.Call) -> httpx.Response:
        response = self._client._send(call)
        _wire.check_status(response)
        return response

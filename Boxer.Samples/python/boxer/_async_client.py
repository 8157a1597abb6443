from __future__ import annotations

import os
from types import TracebackType
from typing import Any, AsyncGenerator, Dict, List, Optional, Type, Union

import httpx

from . import _session_wire, _wire
from ._async_session import AsyncSession, AsyncSessionOpening
from ._iteration import AsyncStream
from ._models import RunEnded, RunEvent, RunResult


class AsyncBoxerClient:
    """
    The asynchronous version of :class:`BoxerClient`, with the same arguments. Tasks can share it.

    base_url, api_key, timeout: see :class:`BoxerClient`.
    transport: an asynchronous httpx transport.
    """

    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        api_key: Optional[str] = None,
        timeout: Optional[float] = None,
        transport: Optional[httpx.AsyncBaseTransport] = None,
    ) -> None:
        self._settings = _wire.Settings.resolve(base_url, api_key, timeout)
        self._http = httpx.AsyncClient(transport=transport, **self._settings.client_arguments())

    @_wire.with_arguments_of(_wire.run_body)
    async def run(self, *args: Any, **kwargs: Any) -> RunResult:
        """Runs a command in a new sandbox and waits for its end; see :meth:`BoxerClient.run`. Cancelling the task ends the run."""
        call = _wire.run_call(self._settings, "/run", _wire.run_body(*args, **kwargs))
        return _wire.run_result(await self._send(call))

    @_wire.with_arguments_of(_wire.run_body)
    def stream(self, *args: Any, **kwargs: Any) -> AsyncRunStream:
        """
        Runs a command and streams its output; see :meth:`BoxerClient.stream`.

        Use ``async with`` if a loop over the stream may end early; otherwise the connection stays open until garbage collection.
        """
        call = _wire.run_call(self._settings, "/run/stream", _wire.run_body(*args, **kwargs))
        return self._stream(call)

    @_wire.with_arguments_of(_session_wire.session_body)
    def session(self, *args: Any, **kwargs: Any) -> AsyncSessionOpening:
        """
        Opens a session; see :meth:`BoxerClient.session`. ``async with client.session(...) as box:`` closes it at the end, and
        ``box = await client.session(...)`` leaves it open.
        """
        call = _session_wire.open_call(self._settings, _session_wire.session_body(*args, **kwargs))
        return AsyncSessionOpening(self, call)

    async def sessions(self) -> List[AsyncSession]:
        """Returns the open sessions of this API key."""
        infos = _session_wire.session_infos(await self._send(_session_wire.list_call()))
        return [AsyncSession(self, info) for info in infos]

    async def session_by_id(self, session_id: str) -> AsyncSession:
        """Returns an open session; see :meth:`BoxerClient.session_by_id`."""
        call = _session_wire.SessionPaths(self._settings, session_id).get()
        return AsyncSession(self, _session_wire.session_info(await self._send(call)))

    async def upload_file(self, remote_path: str, content: _wire.Content) -> str:
        """Uploads bytes, text (as UTF-8) or a binary file object to a relative path on the host; returns the path."""
        return _wire.uploaded_path(await self._send(_wire.upload_call(remote_path, content)))

    async def upload_path(self, local: Union[str, os.PathLike[str]], remote: str) -> str:
        """Uploads a local file to a relative path on the host; returns the path."""
        with open(local, "rb") as file:
            return await self.upload_file(remote, file)

    async def download_file(self, path: str, *, max_bytes: Optional[int] = None) -> bytes:
        """
        Returns the bytes of an upload, or of an output at ``output/<exec_id>/<path>``.

        max_bytes: maximum size; raises :class:`BoxerError` if the file is larger; default no limit.
        """
        return await self._download(_wire.download_call(path), max_bytes)

    async def health(self) -> Dict[str, Any]:
        """Returns the response of ``/healthz``: ``{"ok": True}``."""
        return _wire.json_body(await self._send(_wire.health_call()))

    async def aclose(self) -> None:
        """Closes all connections. The client can no longer be used."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncBoxerClient:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncBoxerClient({self._settings.base_url!r})"

    async def _send(self, call: _wire.Call) -> httpx.Response:
        request = call.build(self._http)
        with _wire.transport_errors(request):
            return await self._http.send(request)

    async def _download(self, call: _wire.Call, max_bytes: Optional[int]) -> bytes:
        download = _wire.Download(max_bytes)
        async with _wire.async_answer(self._http, call) as response:
            async for chunk in response.aiter_bytes():
                download.add(chunk)
        return download.content()

    def _stream(self, call: _wire.Call) -> AsyncRunStream:
        return AsyncRunStream(self._http, call)


class AsyncRunStream(AsyncStream[RunEvent]):
    """The events of one run: an asynchronous iterator, and a context manager that closes it. The host ends a run that is still active then."""

    result: Optional[RunResult]
    """The result, once the run has ended."""

    def __init__(self, http: httpx.AsyncClient, call: _wire.Call) -> None:
        self.result = None
        super().__init__(self._read(http, call))

    async def _read(self, http: httpx.AsyncClient, call: _wire.Call) -> AsyncGenerator[RunEvent, None]:
        reader = _wire.EventReader()
        async with _wire.async_answer(http, call) as response:
            _wire.check_events(response)
            async for chunk in response.aiter_bytes():
                for event in reader.feed(chunk):
                    if isinstance(event, RunEnded):
                        self.result = event.result
                    yield event
                    if self.result is not None:
                        return
        raise _wire.cut_short()

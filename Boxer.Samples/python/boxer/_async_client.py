from __future__ import annotations

import os
from types import TracebackType
from typing import Any, AsyncGenerator, Dict, Optional, Sequence, Type, Union

import httpx

from . import _wire
from ._models import RunEnded, RunEvent, RunResult


class AsyncBoxerClient:
    """
    The client for ``async`` code: :class:`BoxerClient` with the same arguments; safe to share between tasks.

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

    async def run(
        self,
        image: str,
        cmd: Sequence[str],
        *,
        env: Optional[_wire.Env] = None,
        cwd: Optional[str] = None,
        limits: Optional[_wire.Limits] = None,
        files: Optional[Sequence[str]] = None,
        persist: bool = False,
        network: str = "none",
        egress: Optional[_wire.Egress] = None,
        stdin: Optional[str] = None,
        user: Optional[str] = None,
        output_files: Optional[str] = None,
        merge_stderr: bool = False,
        stop_grace_ms: int = 0,
        inputs: Optional[Sequence[_wire.Input]] = None,
        workspace: Optional[_wire.Workspace] = None,
        workspace_out: bool = False,
    ) -> RunResult:
        """Runs a command and waits for its end; see :meth:`BoxerClient.run`. Cancelling ends the run."""
        call = _wire.run_call(
            self._settings,
            "/run",
            image=image,
            cmd=cmd,
            env=env,
            cwd=cwd,
            limits=limits,
            files=files,
            persist=persist,
            network=network,
            egress=egress,
            stdin=stdin,
            user=user,
            output_files=output_files,
            merge_stderr=merge_stderr,
            stop_grace_ms=stop_grace_ms,
            inputs=inputs,
            workspace=workspace,
            workspace_out=workspace_out,
        )
        return _wire.run_result(await self._send(call))

    def stream(
        self,
        image: str,
        cmd: Sequence[str],
        *,
        env: Optional[_wire.Env] = None,
        cwd: Optional[str] = None,
        limits: Optional[_wire.Limits] = None,
        files: Optional[Sequence[str]] = None,
        persist: bool = False,
        network: str = "none",
        egress: Optional[_wire.Egress] = None,
        stdin: Optional[str] = None,
        user: Optional[str] = None,
        output_files: Optional[str] = None,
        merge_stderr: bool = False,
        stop_grace_ms: int = 0,
        inputs: Optional[Sequence[_wire.Input]] = None,
        workspace: Optional[_wire.Workspace] = None,
        workspace_out: bool = False,
    ) -> AsyncRunStream:
        """
        Runs a command and gives its output as it is printed; see :meth:`BoxerClient.stream`.

        Leave a loop over it early only inside ``async with``: else its connection stays open until it is collected.
        """
        call = _wire.run_call(
            self._settings,
            "/run/stream",
            image=image,
            cmd=cmd,
            env=env,
            cwd=cwd,
            limits=limits,
            files=files,
            persist=persist,
            network=network,
            egress=egress,
            stdin=stdin,
            user=user,
            output_files=output_files,
            merge_stderr=merge_stderr,
            stop_grace_ms=stop_grace_ms,
            inputs=inputs,
            workspace=workspace,
            workspace_out=workspace_out,
        )
        return AsyncRunStream(self._http, call)

    async def upload_file(self, remote_path: str, content: _wire.Content) -> str:
        """Stores bytes, text (as UTF-8) or a binary file at a relative path of the host; returns that path."""
        return _wire.uploaded_path(await self._send(_wire.upload_call(remote_path, content)))

    async def upload_path(self, local: Union[str, os.PathLike[str]], remote: str) -> str:
        """Stores a local file at a relative path of the host; returns that path."""
        with open(local, "rb") as file:
            return await self.upload_file(remote, file)

    async def download_file(self, path: str, *, max_bytes: Optional[int] = None) -> bytes:
        """
        The bytes of an upload, or of an output at ``output/<exec_id>/<path>``.

        max_bytes: raise :class:`BoxerError` as soon as there are more; default no bound.
        """
        request = _wire.download_call(path).build(self._http)
        download = _wire.Download(max_bytes)
        with _wire.transport_errors(request):
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    await response.aread()
                    _wire.check_status(response)
                async for chunk in response.aiter_bytes():
                    download.add(chunk)
            finally:
                await response.aclose()
        return download.content()

    async def health(self) -> Dict[str, Any]:
        """What ``/healthz`` says: ``{"ok": True}`` for a host that answers."""
        return _wire.json_answer(await self._send(_wire.health_call()))

    async def aclose(self) -> None:
        """Closes the connections. The client cannot be used any more."""
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


class AsyncRunStream:
    """The events of one run: an asynchronous iterator, and a context manager that closes it."""

    result: Optional[RunResult]
    """The result, once the run has ended."""

    def __init__(self, http: httpx.AsyncClient, call: _wire.Call) -> None:
        self.result = None
        self._events = self._read(http, call)

    def __aiter__(self) -> AsyncRunStream:
        return self

    async def __anext__(self) -> RunEvent:
        return await self._events.__anext__()

    async def aclose(self) -> None:
        """Closes the connection. A run that has not ended is ended by the host."""
        await self._events.aclose()

    async def __aenter__(self) -> AsyncRunStream:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        await self.aclose()

    async def _read(self, http: httpx.AsyncClient, call: _wire.Call) -> AsyncGenerator[RunEvent, None]:
        reader = _wire.EventReader()
        request = call.build(http)
        with _wire.transport_errors(request):
            response = await http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    await response.aread()
                    _wire.check_status(response)
                _wire.check_events(response)
                async for chunk in response.aiter_bytes():
                    for event in reader.feed(chunk):
                        if isinstance(event, RunEnded):
                            self.result = event.result
                        yield event
                        if self.result is not None:
                            return
            finally:
                await response.aclose()
        raise _wire.cut_short()

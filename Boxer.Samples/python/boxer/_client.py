from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Dict, Generator, Optional, Sequence, Type, Union

import httpx

from . import _wire
from ._models import RunEnded, RunEvent, RunResult


class BoxerClient:
    """
    A client of one host; safe to share between threads.

    base_url: address of the host; default ``$BOXER_URL``, else ``http://localhost:8080``.
    api_key: key of the host; default ``$BOXER_API_KEY``, else none. It is sent as it is: use https beyond loopback.
    timeout: seconds that the host may be silent before a call fails with :class:`BoxerConnectionError`; ``math.inf``
        for no bound. Default ``None``: for runs with ``wall_clock_secs`` that time and 720 s for the host's queue (60),
        image pull (600), boot (30) and the way back (30); no bound for runs without; 60 s for everything else.
    transport: an httpx transport, for example for a Unix socket or a private certificate authority.
    """

    def __init__(
        self,
        base_url: Optional[str] = None,
        *,
        api_key: Optional[str] = None,
        timeout: Optional[float] = None,
        transport: Optional[httpx.BaseTransport] = None,
    ) -> None:
        self._settings = _wire.Settings.resolve(base_url, api_key, timeout)
        self._http = httpx.Client(transport=transport, **self._settings.client_arguments())

    def run(
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
        """
        Runs a command in a sandbox of its own and waits for its end.

        image: an image reference, for example ``python:3.12-slim``.
        cmd: the whole command: program and arguments.
        env: variables as a mapping or as ``["NAME=value"]``, added to those of the image.
        cwd: absolute directory to start in; default the workspace, else the image's, else ``/``.
        limits: limits as :class:`ResourceLimits` or as a mapping with the same names; default the host's.
        files: paths uploaded before; each appears read-only at ``/<path>``.
        persist: keep these uploads, and what the run writes under ``/output`` as ``output/<exec_id>/<path>``.
        network: ``none``, ``sandbox`` or ``host``.
        egress: with ``sandbox``, what may be reached: ``{"allow": ["pypi.org:443"], "deny": [], "bandwidth_bps": ..., "quota_bytes": ...}``.
        stdin: what the command reads from its standard input; default empty.
        user: name or uid, or either with ``:group``; default the image's, else 65534.
        output_files: what becomes of files under ``/output``: ``none``, ``inline`` (small ones, in ``result.output_files``) or ``keep``; default as ``persist``.
        merge_stderr: standard error goes into standard output, in the order in which both are written.
        stop_grace_ms: how long the command may still run after it was asked to end, where its wall clock is over, the client is gone or the host stops; 0 to 60000.
        inputs: small files in the request itself, each read-only at ``/<path>``: ``{"path": "job/main.py", "content": "...", "executable": False}``;
            bytes as content are sent as they are.
        workspace: a directory that the command can write, and starts in: ``{"path": "/workspace", "files": [inputs], "uploads": [paths], "archive": path}``,
            where everything may be left out; ``archive`` is the path of an uploaded tar archive.
        workspace_out: what the command changed in its workspace comes back as ``result.workspace``, a tar archive.

        A command that fails is a result, with its ``exit_code``. Raises :class:`BoxerTimeoutError` at the wall-clock
        limit, :class:`BoxerOutputLimitError` at the output limit, :class:`BoxerCapacityError` when too many runs wait,
        another :class:`BoxerAPIError` for what the host refuses, :class:`BoxerConnectionError` when it is not reached.
        Nothing is ever sent twice.
        """
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
        return _wire.run_result(self._send(call))

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
    ) -> RunStream:
        """
        Runs a command and gives its output as it is printed; arguments and errors are those of :meth:`run`.

        The request is sent when the first event is asked for. Closing the stream early ends the run.
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
        return RunStream(self._http, call)

    def upload_file(self, remote_path: str, content: _wire.Content) -> str:
        """Stores bytes, text (as UTF-8) or a binary file at a relative path of the host; returns that path."""
        return _wire.uploaded_path(self._send(_wire.upload_call(remote_path, content)))

    def upload_path(self, local: Union[str, os.PathLike[str]], remote: str) -> str:
        """Stores a local file at a relative path of the host; returns that path."""
        with open(local, "rb") as file:
            return self.upload_file(remote, file)

    def download_file(self, path: str, *, max_bytes: Optional[int] = None) -> bytes:
        """
        The bytes of an upload, or of an output at ``output/<exec_id>/<path>``.

        max_bytes: raise :class:`BoxerError` as soon as there are more; default no bound.
        """
        request = _wire.download_call(path).build(self._http)
        download = _wire.Download(max_bytes)
        with _wire.transport_errors(request):
            response = self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    response.read()
                    _wire.check_status(response)
                for chunk in response.iter_bytes():
                    download.add(chunk)
            finally:
                response.close()
        return download.content()

    def health(self) -> Dict[str, Any]:
        """What ``/healthz`` says: ``{"ok": True}`` for a host that answers."""
        return _wire.json_answer(self._send(_wire.health_call()))

    def close(self) -> None:
        """Closes the connections. The client cannot be used any more."""
        self._http.close()

    def __enter__(self) -> BoxerClient:
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BoxerClient({self._settings.base_url!r})"

    def _send(self, call: _wire.Call) -> httpx.Response:
        request = call.build(self._http)
        with _wire.transport_errors(request):
            return self._http.send(request)


class RunStream:
    """The events of one run: an iterator, and a context manager that closes it."""

    result: Optional[RunResult]
    """The result, once the run has ended."""

    def __init__(self, http: httpx.Client, call: _wire.Call) -> None:
        self.result = None
        self._events = self._read(http, call)

    def __iter__(self) -> RunStream:
        return self

    def __next__(self) -> RunEvent:
        return next(self._events)

    def close(self) -> None:
        """Closes the connection. A run that has not ended is ended by the host."""
        self._events.close()

    def __enter__(self) -> RunStream:
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self.close()

    def _read(self, http: httpx.Client, call: _wire.Call) -> Generator[RunEvent, None, None]:
        reader = _wire.EventReader()
        request = call.build(http)
        with _wire.transport_errors(request):
            response = http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    response.read()
                    _wire.check_status(response)
                _wire.check_events(response)
                for chunk in response.iter_bytes():
                    for event in reader.feed(chunk):
                        if isinstance(event, RunEnded):
                            self.result = event.result
                        yield event
                        if self.result is not None:
                            return
            finally:
                response.close()
        raise _wire.cut_short()

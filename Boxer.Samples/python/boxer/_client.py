from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Dict, Generator, List, Optional, Type, Union

import httpx

from . import _session_wire, _wire
from ._iteration import Stream
from ._models import RunEnded, RunEvent, RunResult
from ._session import Session


class BoxerClient:
    """
    A client for one Boxer host. Threads can share it.

    base_url: address of the host; default ``$BOXER_URL``, else ``http://localhost:8080``.
    api_key: API key; default ``$BOXER_API_KEY``, else none. It is sent unencrypted over http: use https for remote hosts.
    timeout: seconds without data from the host after which a call fails with :class:`BoxerConnectionError`; ``math.inf``
        for no timeout. Default ``None``: for runs with ``wall_clock_secs`` that time plus 720 s for the host's queue (60),
        image pull (600), boot (30) and transfer (30); no timeout for other runs; 60 s for all other calls.
    transport: an httpx transport, for example for a Unix socket or a private certificate authority; default httpx's own.
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

    @_wire.with_arguments_of(_wire.run_body)
    def run(self, *args: Any, **kwargs: Any) -> RunResult:
        """
        Runs a command in a new sandbox and waits for its end.

        image: an image reference, for example ``python:3.12-slim``.
        cmd: the program and its arguments.
        env: environment variables as a mapping or as ``["NAME=value"]``, added to the image's.
        cwd: absolute path of the working directory; default the workspace, else the image's, else ``/``.
        limits: :class:`ResourceLimits`, or a mapping with the same names; default the host's limits.
        files: paths of uploaded files; each appears read-only at ``/<path>``.
        persist: whether the host keeps these uploads, and files under ``/output`` as ``output/<exec_id>/<path>``; default false.
        network: ``none``, ``sandbox`` or ``host``.
        egress: with ``sandbox``, the allowed destinations: ``{"allow": ["pypi.org:443"], "deny": [], "bandwidth_bps": ..., "quota_bytes": ...}``.
        stdin: text for the command's standard input; default empty.
        user: a user name or uid, optionally with ``:group``; default the image's, else 65534.
        output_files: what the host does with files under ``/output``: ``none`` (drops them), ``inline`` (returns small ones in ``result.output_files``) or
            ``keep`` (keeps them for :meth:`download_file`); default ``keep`` with ``persist``, else ``none``.
        merge_stderr: whether standard error is written to standard output, in order; default false.
        stop_grace_ms: milliseconds that the command has to end after it was asked to, because of its wall-clock limit, a disconnected client or a
            stopping host; 0 to 60000; default 0.
        inputs: small files in the request, each read-only at ``/<path>``: ``{"path": "job/main.py", "content": "...", "executable": False}``;
            the content is text or bytes.
        workspace: a writable working directory: ``{"path": "/workspace", "files": [inputs], "uploads": [paths], "archive": path}``. All keys are
            optional; ``archive`` is the path of an uploaded tar archive.
        terminal: size of a terminal as ``(columns, rows)``, in place of separate streams; ``stdin`` is typed into it; default no terminal.
        workspace_out: whether ``result.workspace`` returns the changed files of the workspace, as a tar archive; default false.

        A command that fails returns a result with its ``exit_code``. Raises :class:`BoxerTimeoutError` at the wall-clock
        limit, :class:`BoxerOutputLimitError` at the output limit, :class:`BoxerCapacityError` when the host is busy, another
        :class:`BoxerAPIError` when the host rejects the request, and :class:`BoxerConnectionError` when the connection fails.
        The client never retries a request.
        """
        call = _wire.run_call(self._settings, "/run", _wire.run_body(*args, **kwargs))
        return _wire.run_result(self._send(call))

    @_wire.with_arguments_of(_wire.run_body)
    def stream(self, *args: Any, **kwargs: Any) -> RunStream:
        """
        Runs a command and streams its output. Arguments and errors are the same as for :meth:`run`.

        Iterating sends the request. Closing the stream early ends the run.
        """
        call = _wire.run_call(self._settings, "/run/stream", _wire.run_body(*args, **kwargs))
        return self._stream(call)

    @_wire.with_arguments_of(_session_wire.session_body)
    def session(self, *args: Any, **kwargs: Any) -> Session:
        """
        Opens a session: a sandbox that is kept for several commands. ``with client.session(...) as box:`` closes it at the end.

        image, network, egress, env, user, files, inputs, workspace: see :meth:`run`; the workspace stays writable for all commands.
        cwd: absolute path of the directory that commands start in and that relative paths start at; default the workspace, else the image's, else
            the home of the user.
        persist: whether the host keeps the uploads of ``files`` and of the workspace after the opening; default false.
        pull: when the host asks the registry for the image: ``missing``, ``always`` or ``never``; default the host's setting.
        limits: of the whole sandbox, and the defaults of its commands; default the host's limits.
        labels: up to 16 names and values of your own.
        idle_timeout: seconds after the end of the last call until the session ends; default 300.
        lifetime: seconds until the session ends in any case, without paused time; default 3600.

        Raises :class:`BoxerCapacityError` when too many sessions are open.
        """
        call = _session_wire.open_call(self._settings, _session_wire.session_body(*args, **kwargs))
        return Session(self, _session_wire.session_info(self._send(call)))

    def sessions(self) -> List[Session]:
        """Returns the open sessions of this API key."""
        return [Session(self, info) for info in _session_wire.session_infos(self._send(_session_wire.list_call()))]

    def session_by_id(self, session_id: str) -> Session:
        """
        Returns an open session. Leaving a ``with`` block closes it.

        Raises :class:`BoxerSessionEndedError` for one that ended less than an hour ago, and :class:`BoxerNotFoundError` if there is none.
        """
        call = _session_wire.SessionPaths(self._settings, session_id).get()
        return Session(self, _session_wire.session_info(self._send(call)))

    def upload_file(self, remote_path: str, content: _wire.Content) -> str:
        """Uploads bytes, text (as UTF-8) or a binary file object to a relative path on the host; returns the path."""
        return _wire.uploaded_path(self._send(_wire.upload_call(remote_path, content)))

    def upload_path(self, local: Union[str, os.PathLike[str]], remote: str) -> str:
        """Uploads a local file to a relative path on the host; returns the path."""
        with open(local, "rb") as file:
            return self.upload_file(remote, file)

    def download_file(self, path: str, *, max_bytes: Optional[int] = None) -> bytes:
        """
        Returns the bytes of an upload, or of an output at ``output/<exec_id>/<path>``.

        max_bytes: maximum size; raises :class:`BoxerError` if the file is larger; default no limit.
        """
        return self._download(_wire.download_call(path), max_bytes)

    def health(self) -> Dict[str, Any]:
        """Returns the response of ``/healthz``: ``{"ok": True}``."""
        return _wire.json_body(self._send(_wire.health_call()))

    def close(self) -> None:
        """Closes all connections. The client can no longer be used."""
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

    def _download(self, call: _wire.Call, max_bytes: Optional[int]) -> bytes:
        download = _wire.Download(max_bytes)
        with _wire.answer(self._http, call) as response:
            for chunk in response.iter_bytes():
                download.add(chunk)
        return download.content()

    def _stream(self, call: _wire.Call) -> RunStream:
        return RunStream(self._http, call)


class RunStream(Stream[RunEvent]):
    """The events of one run: an iterator, and a context manager that closes it. The host ends a run that is still active then."""

    result: Optional[RunResult]
    """The result, once the run has ended."""

    def __init__(self, http: httpx.Client, call: _wire.Call) -> None:
        self.result = None
        super().__init__(self._read(http, call))

    def _read(self, http: httpx.Client, call: _wire.Call) -> Generator[RunEvent, None, None]:
        reader = _wire.EventReader()
        with _wire.answer(http, call) as response:
            _wire.check_events(response)
            for chunk in response.iter_bytes():
                for event in reader.feed(chunk):
                    if isinstance(event, RunEnded):
                        self.result = event.result
                    yield event
                    if self.result is not None:
                        return
        raise _wire.cut_short()

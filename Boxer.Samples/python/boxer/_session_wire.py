"""Requests and responses of sessions, shared by both clients. Nothing here sends a request."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import replace
from typing import Any, AsyncIterable, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Union

import httpx

from . import _wire
from ._errors import BoxerConnectionError, BoxerProtocolError
from ._models import ResourceLimits, required
from ._session_models import FileChange, FileInfo, FileList, ProcessEnded, ProcessEvent, ProcessInfo, ProcessOutput, SessionInfo, objects, output_bytes
from ._sse import EventDecoder, ServerSentEvent

# Seconds before each attempt to attach again to a process whose events were cut off. The host may restart in the meantime.
ATTACH_WAITS = (0.1, 0.4, 1.0, 2.0, 4.0)
# Bytes that arrive this many seconds after the head show that a connection works; the host sends a comment each 15 s.
LASTING = 5.0
# Bytes of one request that writes to a process.
WRITE_BYTES = 1 << 20

_SESSION_ID = re.compile(r"[a-z0-9]{20,57}")


class Arguments(NamedTuple):
    """The arguments of a call in a session."""

    body: Dict[str, Any]
    resume: bool


def session_body(
    image: str,
    *,
    network: str = "none",
    egress: Optional[_wire.Egress] = None,
    limits: Optional[_wire.Limits] = None,
    env: Optional[_wire.Env] = None,
    user: Optional[str] = None,
    cwd: Optional[str] = None,
    files: Optional[Sequence[str]] = None,
    inputs: Optional[Sequence[_wire.Input]] = None,
    workspace: Optional[_wire.Workspace] = None,
    persist: bool = False,
    pull: Optional[str] = None,
    labels: Optional[Mapping[str, str]] = None,
    idle_timeout: Optional[float] = None,
    lifetime: Optional[float] = None,
) -> Dict[str, Any]:
    """The body of ``POST /sessions``. This is the only declaration of the arguments of sessions, for both clients."""
    return _given(
        image=image,
        network=network,
        egress=None if egress is None else dict(egress),
        limits=_limits(limits),
        env=_wire.env_list(env) if env else None,
        user=user,
        cwd=cwd,
        files=_wire.strings("files", files) if files else None,
        inputs=_wire.input_list(inputs),
        workspace=None if workspace is None else _wire.workspace_body(workspace),
        persist=True if persist else None,
        pull=pull,
        labels=dict(labels) if labels else None,
        idle_timeout_secs=idle_timeout,
        lifetime_secs=lifetime,
    )


def exec_body(
    cmd: Sequence[str],
    *,
    env: Optional[_wire.Env] = None,
    cwd: Optional[str] = None,
    limits: Optional[_wire.Limits] = None,
    stdin: Union[str, bytes, None] = None,
    user: Optional[str] = None,
    merge_stderr: bool = False,
    stop_grace_ms: int = 0,
    resume: bool = False,
) -> Arguments:
    """The arguments of ``/exec`` and ``/exec/stream``. This is the only declaration of the arguments of commands, for both clients."""
    body = _given(
        cmd=_wire.strings("cmd", cmd),
        env=_wire.env_list(env) if env else None,
        cwd=cwd,
        limits=_limits(limits),
        stdin=stdin if isinstance(stdin, str) else None,
        stdin_base64=base64.b64encode(stdin).decode("ascii") if isinstance(stdin, bytes) else None,
        user=user,
        merge_stderr=True if merge_stderr else None,
        stop_grace_ms=stop_grace_ms or None,
    )
    return Arguments(body, resume)


def process_body(
    cmd: Sequence[str],
    *,
    env: Optional[_wire.Env] = None,
    cwd: Optional[str] = None,
    user: Optional[str] = None,
    limits: Optional[_wire.Limits] = None,
    merge_stderr: bool = False,
    terminal: Optional[_wire.Terminal] = None,
    resume: bool = False,
) -> Arguments:
    """The arguments of ``/processes``. This is the only declaration of the arguments of processes, for both clients."""
    body = _given(
        cmd=_wire.strings("cmd", cmd),
        env=_wire.env_list(env) if env else None,
        cwd=cwd,
        user=user,
        limits=_limits(limits),
        merge_stderr=True if merge_stderr else None,
        terminal=None if terminal is None else _wire.terminal_size(*terminal),
    )
    return Arguments(body, resume)


def open_call(settings: _wire.Settings, body: Dict[str, Any]) -> _wire.Call:
    patience = settings.silence(_wire.QUEUE + _wire.PULL + _wire.BOOT + _wire.MARGIN)
    return _json_call("POST", "/sessions", body, patience)


def list_call() -> _wire.Call:
    return _wire.Call("GET", "/sessions", {})


class SessionPaths:
    """The requests of one session."""

    def __init__(self, settings: _wire.Settings, session_id: str) -> None:
        if not isinstance(session_id, str) or not _SESSION_ID.fullmatch(session_id):
            raise ValueError(f"session: {session_id!r} is not an identifier of a session.")
        self.settings = settings
        self.id = session_id
        self.path = f"/sessions/{session_id}"

    def get(self) -> _wire.Call:
        return _wire.Call("GET", self.path, {})

    def extend(self, idle_timeout: Optional[float], lifetime: Optional[float]) -> _wire.Call:
        return _json_call("PATCH", self.path, _given(idle_timeout_secs=idle_timeout, lifetime_secs=lifetime))

    def close(self) -> _wire.Call:
        return _wire.Call("DELETE", self.path, {})

    def pause(self) -> _wire.Call:
        # It waits for the calls in progress.
        return _wire.Call("POST", f"{self.path}/pause", {}, self.settings.silence(None))

    def resume(self) -> _wire.Call:
        return _wire.Call("POST", f"{self.path}/resume", {})

    def run(self, suffix: str, arguments: Arguments) -> _wire.Call:
        return _wire.run_call(self.settings, f"{self.path}/{suffix}", arguments.body).resuming(arguments.resume)

    def start(self, arguments: Arguments) -> _wire.Call:
        return _json_call("POST", f"{self.path}/processes", arguments.body).resuming(arguments.resume)

    def processes(self) -> _wire.Call:
        return _wire.Call("GET", f"{self.path}/processes", {})

    def port(self, port: int) -> _wire.Call:
        if isinstance(port, bool) or not 1 <= port <= 65535:
            raise ValueError("port: must be 1 to 65535.")
        return _wire.Call("GET", f"{self.path}/ports/{int(port)}", {})

    def file(self, method: str, suffix: str, params: Mapping[str, Any]) -> _wire.Call:
        return _wire.Call(method, f"{self.path}/files{suffix}", {"params": dict(params), "headers": {"Accept": "*/*"}})

    def remove(self, path: str) -> _wire.Call:
        return replace(self.file("DELETE", "", {"path": path}), timeout=self.settings.silence(_wire.REMOVAL + _wire.MARGIN))

    def upload(self, suffix: str, params: Mapping[str, Any], content: Union[bytes, Iterable[bytes], AsyncIterable[bytes]]) -> _wire.Call:
        headers = {"Accept": "*/*", "Content-Type": "application/octet-stream"}
        return _wire.Call("PUT", f"{self.path}/files{suffix}", {"params": dict(params), "headers": headers, "content": content})

    def watch(self, path: str) -> _wire.Call:
        return _wire.Call("GET", f"{self.path}/files/watch", {"params": {"path": path}, "headers": {"Accept": "text/event-stream, application/json"}})

    def file_post(self, suffix: str, body: Dict[str, Any]) -> _wire.Call:
        return _json_call("POST", f"{self.path}/files{suffix}", body)


class ProcessPaths:
    """The requests of one process."""

    def __init__(self, session: SessionPaths, pid: int) -> None:
        self.path = f"{session.path}/processes/{int(pid)}"
        self._settings = session.settings

    def get(self) -> _wire.Call:
        return _wire.Call("GET", self.path, {})

    def write(self, content: bytes) -> _wire.Call:
        return self._stdin(content, {})

    def close_stdin(self) -> _wire.Call:
        return self._stdin(b"", {"end": "true"})

    def signal(self, number: int) -> _wire.Call:
        return _json_call("POST", f"{self.path}/signal", {"signal": int(number)})

    def resize(self, columns: int, rows: int) -> _wire.Call:
        return _json_call("POST", f"{self.path}/resize", _wire.terminal_size(columns, rows))

    def kill(self) -> _wire.Call:
        return _wire.Call("DELETE", self.path, {})

    def _stdin(self, content: bytes, params: Mapping[str, str]) -> _wire.Call:
        headers = {"Content-Type": "application/octet-stream"}
        patience = self._settings.silence(_wire.INPUT + _wire.MARGIN)
        # The host reads no faster than the process.
        timeout = httpx.Timeout(patience.read, connect=patience.connect, write=patience.read, pool=None)
        return _wire.Call("POST", f"{self.path}/stdin", {"params": dict(params), "headers": headers, "content": content}, timeout)


class ProcessInput:
    """The requests of one write to a process, each with the bytes that it has not taken yet."""

    def __init__(self, paths: ProcessPaths, data: Union[str, bytes, bytearray, memoryview], resume: bool) -> None:
        self._paths = paths
        self._content = _wire.content_bytes(data)
        self._resume = resume
        self._written = 0

    def __iter__(self) -> Iterator[_wire.Call]:
        while self._written < len(self._content):
            yield self._paths.write(self._piece()).resuming(self._resume)

    def accept(self, response: httpx.Response) -> None:
        """Takes the response to the last request; raises if the process took nothing, the session is paused, or for other errors."""
        # A session that is paused later stays so.
        self._resume = False
        body = _wire.json_object(response.content) if response.status_code == 409 else None
        if body is None:
            _wire.check_status(response)
            self._written += len(self._piece())
            return
        taken, is_paused = body.get("written"), body.get("state") == "paused"
        if isinstance(taken, int):
            taken = max(0, min(taken, len(self._piece())))
            self._written += taken
        if isinstance(taken, int) or is_paused:
            body = {**body, "written": self._written}
        if not isinstance(taken, int) or taken == 0 or is_paused:
            raise _wire.api_error(409, str(body.get("error", "the process takes no input")), body)

    def _piece(self) -> bytes:
        return self._content[self._written : self._written + WRITE_BYTES]


class Attachment:
    """The state of reading a process's events, over several connections if the first one breaks."""

    def __init__(self, paths: ProcessPaths, offset: int, resume: bool) -> None:
        if offset < 0:
            raise ValueError("from_offset: must be 0 or more.")
        self._path = f"{paths.path}/events"
        self._decoder = EventDecoder()
        self._resume = resume
        self._attached = False
        self._failures = 0
        self._accepted = 0.0
        self.offset = offset
        """Number of bytes that were read or skipped."""
        self.ended: Optional[ProcessEnded] = None

    def call(self) -> _wire.Call:
        """The request that continues after the last event."""
        self._decoder = EventDecoder()
        headers = {"Accept": "text/event-stream, application/json"}
        if self.offset:
            headers["Last-Event-ID"] = str(self.offset)
        # A session that is paused later stays so.
        return _wire.Call("GET", self._path, {"headers": headers}).resuming(self._resume and not self._attached)

    def accept(self, response: httpx.Response) -> None:
        """Checks the head of a successful response."""
        _wire.check_events(response)
        self._attached = True
        self._accepted = time.monotonic()

    def feed(self, chunk: bytes) -> Iterator[ProcessEvent]:
        """Yields the events that end in this chunk."""
        if time.monotonic() - self._accepted >= LASTING:
            self._failures = 0
        for item in self._decoder.feed(chunk):
            event = self._event(item)
            if event is None:
                continue
            self._failures = 0
            if isinstance(event, ProcessEnded):
                self.ended = event
            yield event
            if self.ended is not None:
                return

    def lost(self, error: Exception) -> float:
        """Returns the seconds to wait before the next attempt; raises if there is no point in one."""
        if not self._attached or self._failures == len(ATTACH_WAITS):
            raise error
        self._failures += 1
        return ATTACH_WAITS[self._failures - 1]

    def _event(self, item: ServerSentEvent) -> Optional[ProcessEvent]:
        if item.name not in ("stdout", "stderr", "output", "ended", "error"):
            # A keep-alive comment, or an event of a newer host.
            return None
        body = event_body(item, "the events ended")
        if item.name == "ended":
            return ProcessEnded.from_json(body)
        return self._output(item.name, required(body, "offset", int), output_bytes(body))

    def _output(self, stream: str, offset: int, data: bytes) -> Optional[ProcessOutput]:
        known = max(0, self.offset - offset)
        self.offset = max(self.offset, offset + len(data))
        return ProcessOutput(offset + known, stream, data[known:]) if known < len(data) else None


class ChangeReader:
    """Decodes the events of a watch."""

    def __init__(self) -> None:
        self._decoder = EventDecoder()

    def feed(self, chunk: bytes) -> Iterator[FileChange]:
        """Yields the events that end in this chunk; the first is ``started``."""
        for item in self._decoder.feed(chunk):
            if item.name not in ("started", "created", "changed", "deleted", "overflow", "error"):
                # A keep-alive comment, or an event of a newer host.
                continue
            body = event_body(item, "the watch ended")
            yield FileChange(item.name, required(body, "path", str))


def event_body(item: ServerSentEvent, reason: str) -> Dict[str, Any]:
    """The data of an event of a session; raises for the event ``error``, whose message is ``reason`` if it has none."""
    body = _wire.event_body(item.name, item.data)
    if item.name == "error":
        # The status line was already sent.
        raise _wire.api_error(required(body, "status", int), str(body.get("error", reason)), body)
    return body


def session_info(response: httpx.Response) -> SessionInfo:
    return SessionInfo.from_json(_wire.json_body(response))


def session_infos(response: httpx.Response) -> List[SessionInfo]:
    return [SessionInfo.from_json(item) for item in objects(json_value(response))]


def process_info(response: httpx.Response) -> ProcessInfo:
    return ProcessInfo.from_json(_wire.json_body(response))


def process_infos(response: httpx.Response) -> List[ProcessInfo]:
    return [ProcessInfo.from_json(item) for item in objects(json_value(response))]


def file_info(response: httpx.Response) -> FileInfo:
    return FileInfo.from_json(_wire.json_body(response))


def file_list(response: httpx.Response) -> FileList:
    files = FileList(FileInfo.from_json(item) for item in objects(json_value(response)))
    files.incomplete = response.headers.get("X-Boxer-Incomplete") == "true"
    return files


def json_value(response: httpx.Response) -> Any:
    """The JSON body of a successful response; raises for other responses. The body must have been read."""
    _wire.check_status(response)
    try:
        return json.loads(response.content)
    except ValueError:
        raise BoxerProtocolError(f"the response is not JSON but {_wire.excerpt(response)}; is this the address of a Boxer host?") from None


def cut_off() -> BoxerConnectionError:
    return BoxerConnectionError("the events of the process ended before the process did")


def watch_ended() -> BoxerConnectionError:
    return BoxerConnectionError("the host ended the watch")


def _given(**fields: Any) -> Dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _limits(limits: Optional[_wire.Limits]) -> Optional[Dict[str, float]]:
    checked = limits if isinstance(limits, ResourceLimits) else ResourceLimits.from_mapping(limits or {})
    return checked.to_dict() or None


def _json_call(method: str, path: str, body: Dict[str, Any], timeout: Optional[httpx.Timeout] = None) -> _wire.Call:
    content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return _wire.Call(method, path, {"content": content, "headers": {"Content-Type": "application/json"}}, timeout)

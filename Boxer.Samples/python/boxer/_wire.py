"""Requests and answers of the HTTP contract: all that the two clients share, without sending anything."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import json
import math
import os
import time
from dataclasses import dataclass, field
from typing import IO, Any, Dict, Generator, Iterator, List, Mapping, Optional, Sequence, Union

import httpx

from ._errors import BoxerAPIError, BoxerConnectionError, BoxerError, BoxerProtocolError, api_error_class
from ._models import ResourceLimits, RunEnded, RunEvent, RunResult, RunStarted, RunText
from ._version import __version__

DEFAULT_URL = "http://localhost:8080"

# Seconds. A host is silent during a run for as long as it may wait in the queue, be pulled, boot and run;
# these are the host's own defaults, and MARGIN is for clean-up and the way back.
CONNECT = 10.0
WRITE = 60.0
READ = 60.0
QUEUE = 60.0
PULL = 600.0
BOOT = 30.0
MARGIN = 30.0

Env = Union[Mapping[str, str], Sequence[str]]
Limits = Union[ResourceLimits, Mapping[str, Optional[float]]]
Egress = Mapping[str, Any]
Input = Mapping[str, Any]
Workspace = Mapping[str, Any]
Content = Union[bytes, bytearray, memoryview, str, IO[bytes]]


class _BearerAuth(httpx.Auth):
    """The API key as a bearer token. An httpx.Auth, so that a .netrc entry of the host cannot replace it."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        yield request


@dataclass(frozen=True)
class Settings:
    """How to reach a host."""

    base_url: str
    auth: Optional[httpx.Auth] = field(repr=False)
    timeout: Optional[float]

    @staticmethod
    def resolve(base_url: Optional[str], api_key: Optional[str], timeout: Optional[float]) -> Settings:
        """Arguments, else the environment, else defaults."""
        url = (base_url or os.environ.get("BOXER_URL") or DEFAULT_URL).strip()
        _check_url(url)
        key = (os.environ.get("BOXER_API_KEY", "") if api_key is None else api_key).strip()
        # The key itself never becomes part of a message.
        if any(not "!" <= character <= "~" for character in key):
            raise ValueError("api_key: only printable ASCII without spaces can be sent.")
        if timeout is not None and not timeout > 0:
            raise ValueError("timeout: must be more than 0 seconds, or None.")
        return Settings(url, _BearerAuth(key) if key else None, timeout)

    def client_arguments(self) -> Dict[str, Any]:
        """Arguments that httpx.Client and httpx.AsyncClient share."""
        return {
            "base_url": self.base_url,
            "auth": self.auth,
            "headers": {"User-Agent": f"boxer-python/{__version__}", "Accept": "application/json"},
            "timeout": self.silence(READ),
        }

    def silence(self, seconds: Optional[float]) -> httpx.Timeout:
        """A timeout that lets the host be silent for so long, unless the user chose otherwise."""
        read = seconds if self.timeout is None else self.timeout
        if read is not None and math.isinf(read):
            read = None
        return httpx.Timeout(read, connect=CONNECT, write=WRITE, pool=None)


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url: not a URL: {error}") from None
    if parsed.userinfo:
        raise ValueError("base_url: must not contain a user name or password; use api_key.")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError(f"base_url: {url!r} is not of the form {DEFAULT_URL}.")


@dataclass(frozen=True)
class Call:
    """One request, not yet bound to a client."""

    method: str
    path: str
    arguments: Mapping[str, Any]
    timeout: Optional[httpx.Timeout] = None

    def build(self, client: Union[httpx.Client, httpx.AsyncClient]) -> httpx.Request:
        arguments = dict(self.arguments)
        if self.timeout is not None:
            arguments["timeout"] = self.timeout
        return client.build_request(self.method, self.path, **arguments)


def run_call(
    settings: Settings,
    path: str,
    *,
    image: str,
    cmd: Sequence[str],
    env: Optional[Env],
    cwd: Optional[str],
    limits: Optional[Limits],
    files: Optional[Sequence[str]],
    persist: bool,
    network: str,
    egress: Optional[Egress],
    stdin: Optional[str],
    user: Optional[str],
    output_files: Optional[str],
    merge_stderr: bool,
    stop_grace_ms: int,
    inputs: Optional[Sequence[Input]],
    workspace: Optional[Workspace],
    workspace_out: bool,
) -> Call:
    """A request of ``/run`` or ``/run/stream``; what is left to the host's defaults is not sent."""
    body: Dict[str, Any] = {"image": image, "cmd": _strings("cmd", cmd), "network": network, "persist": persist}
    if env:
        body["env"] = _env(env)
    if cwd is not None:
        body["cwd"] = cwd
    checked = limits if isinstance(limits, ResourceLimits) else ResourceLimits.from_mapping(limits or {})
    if checked.to_dict():
        body["limits"] = checked.to_dict()
    if egress is not None:
        body["egress"] = dict(egress)
    if files:
        body["files"] = _strings("files", files)
    if stdin is not None:
        body["stdin"] = stdin
    if user is not None:
        body["user"] = user
    if output_files is not None:
        body["outputs"] = output_files
    if merge_stderr:
        body["merge_stderr"] = True
    if stop_grace_ms:
        body["stop_grace_ms"] = stop_grace_ms
    if inputs:
        body["inputs"] = [_input(one) for one in inputs]
    if workspace is not None:
        body["workspace"] = {**workspace, **({"files": [_input(one) for one in workspace["files"]]} if workspace.get("files") else {})}
    if workspace_out:
        body["workspace_out"] = True

    # Without a limit of the request the host's default holds, which is not known here: no bound then.
    wall = checked.wall_clock_secs
    timeout = settings.silence(QUEUE + PULL + BOOT + wall + stop_grace_ms / 1000 + MARGIN if wall and wall > 0 else None)
    content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    return Call("POST", path, {"content": content, "headers": headers}, timeout)


def _input(one: Input) -> Dict[str, Any]:
    """A file in a request; JSON has no bytes, so those go as base64."""
    content = one.get("content")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        return dict(one)
    rest = {name: value for name, value in one.items() if name != "content"}
    return {**rest, "content_base64": base64.b64encode(bytes(content)).decode("ascii")}


def upload_call(remote_path: str, content: Content) -> Call:
    data: Union[bytes, IO[bytes]]
    if isinstance(content, str):
        data = content.encode("utf-8")
    elif isinstance(content, (bytes, bytearray, memoryview)):
        data = bytes(content)
    elif content.seekable():
        data = content
    else:
        # A pipe has no length that could be declared.
        data = content.read()
    # The host takes the name from `path`; a file name of its own would only be one more thing to encode.
    part = ("file", data, "application/octet-stream")
    return Call("POST", "/files", {"data": {"path": remote_path}, "files": {"file": part}})


def download_call(path: str) -> Call:
    return Call("GET", "/files", {"params": {"path": path}, "headers": {"Accept": "*/*"}})


def health_call() -> Call:
    return Call("GET", "/healthz", {})


@contextlib.contextmanager
def transport_errors(request: httpx.Request) -> Iterator[None]:
    """Turns what httpx raises while it sends or reads into errors of this package."""
    where = f"{request.method} {request.url.copy_with(query=None)}"
    try:
        yield
    except httpx.ReadTimeout as error:
        seconds = request.extensions.get("timeout", {}).get("read")
        raise BoxerConnectionError(f"{where}: the host was silent for {seconds} s; a longer timeout= waits longer") from error
    except httpx.WriteError as error:
        raise BoxerConnectionError(
            f"{where}: the host closed the connection before it had the whole request; its body may be over the host's limit"
        ) from error
    except httpx.RequestError as error:
        raise BoxerConnectionError(f"{where}: {str(error) or type(error).__name__}") from error


def run_result(response: httpx.Response) -> RunResult:
    return RunResult.from_json(json_answer(response))


def uploaded_path(response: httpx.Response) -> str:
    path = json_answer(response).get("path")
    if not isinstance(path, str):
        raise BoxerProtocolError("the answer to the upload has no 'path'; is this the address of a Boxer host?")
    return path


def json_answer(response: httpx.Response) -> Dict[str, Any]:
    """The body of a good answer; raises what another one says. The body must have been read."""
    check_status(response)
    body = _json_object(response.content)
    if body is None:
        raise BoxerProtocolError(f"the answer is not JSON but {_excerpt(response)}; is this the address of a Boxer host?")
    return body


def check_status(response: httpx.Response) -> None:
    """Raises unless the status is 200. The body must have been read if it is not."""
    if response.status_code == 200:
        return
    body = _json_object(response.content) or {}
    message = body.get("error")
    if not isinstance(message, str):
        location = response.headers.get("Location")
        message = f"redirect to {location} not followed" if location else _excerpt(response)
    raise api_error(response.status_code, message, body, _retry_after(response))


def check_events(response: httpx.Response) -> None:
    """Raises unless a good answer is a stream of events."""
    kind = response.headers.get("Content-Type", "")
    if kind.split(";")[0].strip().lower() != "text/event-stream":
        raise BoxerProtocolError(f"the answer is not a stream of events but {kind!r}; is this the address of a Boxer host?")


def api_error(status: int, message: str, body: Mapping[str, Any], retry_after: Optional[float] = None) -> BoxerAPIError:
    def text(name: str) -> str:
        value = body.get(name)
        return value if isinstance(value, str) else ""

    return api_error_class(status)(
        status,
        message,
        exec_id=text("exec_id") or None,
        stdout=text("stdout"),
        stderr=text("stderr"),
        retry_after=retry_after,
        raw=body,
    )


class Download:
    """The bytes of a file as they come in, with an optional bound."""

    def __init__(self, max_bytes: Optional[int]) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()

    def add(self, chunk: bytes) -> None:
        if self._max_bytes is not None and len(self._data) + len(chunk) > self._max_bytes:
            raise BoxerError(f"the file is larger than max_bytes ({self._max_bytes})")
        self._data += chunk

    def content(self) -> bytes:
        return bytes(self._data)


class EventReader:
    """
    Decodes server-sent events (HTML standard, section 9.2) of ``/run/stream``. Works on bytes: httpx's own line
    decoder also splits at characters such as U+2028, which JSON may contain.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._name = ""
        self._data: List[str] = []

    def feed(self, chunk: bytes) -> Iterator[RunEvent]:
        """Yields the events that end in this chunk."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._line += chunk[start:end]
            start = end + 1
            line = self._line.decode("utf-8", "replace")
            self._line.clear()
            event = self._take(line[:-1] if line.endswith("\r") else line)
            if event is not None:
                yield event
        self._line += chunk[start:]

    def _take(self, line: str) -> Optional[RunEvent]:
        if not line:
            name, data = self._name, "\n".join(self._data)
            self._name = ""
            self._data = []
            return _event(name, data)
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        return None


def _event(name: str, data: str) -> Optional[RunEvent]:
    if name not in ("started", "stdout", "stderr", "end"):
        # A comment that keeps the connection alive, or an event of a newer host.
        return None
    body = _json_object(data)
    if body is None:
        raise BoxerProtocolError(f"the data of the event {name!r} is not a JSON object")
    if name == "end":
        # The status that /run would have had, which comes too late for the status line.
        status = body.get("status", 200)
        if isinstance(status, int) and status != 200:
            message = body.get("error")
            raise api_error(status, message if isinstance(message, str) else "the run failed", body)
        return RunEnded(RunResult.from_json(body))
    value = body.get("exec_id" if name == "started" else "text")
    if not isinstance(value, str):
        raise BoxerProtocolError(f"the data of the event {name!r} is incomplete")
    return RunStarted(value) if name == "started" else RunText(name, value)


def cut_short() -> BoxerConnectionError:
    return BoxerConnectionError("the stream ended before the run did")


def _strings(name: str, values: Sequence[str]) -> List[str]:
    # A string is a sequence of strings too, and never what is meant.
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name}: must be a list of strings, not one {type(values).__name__}")
    items = list(values)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"{name}: must contain strings only, not {type(item).__name__}")
    return items


def _env(env: Env) -> List[str]:
    if not isinstance(env, Mapping):
        return _strings("env", env)
    for key in env:
        if isinstance(key, str) and "=" in key:
            raise ValueError(f"env: the name {key!r} must not contain '='")
    # Values may be secrets: a wrong one is named by its key.
    for key, value in env.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"env: name and value of {key!r} must be strings")
    return [f"{key}={value}" for key, value in env.items()]


def _json_object(text: Union[str, bytes]) -> Optional[Dict[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _excerpt(response: httpx.Response) -> str:
    text = response.content[:200].decode("utf-8", "replace").strip()
    return repr(text) if text else "an empty body"


def _retry_after(response: httpx.Response) -> Optional[float]:
    """Seconds of a Retry-After header, which is a number or a date (RFC 9110, section 10.2.3)."""
    value: str = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, float(moment.timestamp()) - time.time())

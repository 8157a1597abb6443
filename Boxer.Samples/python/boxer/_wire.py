"""Requests and responses of the HTTP contract, shared by both clients, and the exchange of a response that is streamed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import inspect
import json
import math
import os
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, AsyncIterable, AsyncIterator, Callable, Dict, Generator, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, TypeVar, Union

import httpx

from ._errors import BoxerAPIError, BoxerConnectionError, BoxerError, BoxerProtocolError, api_error_class
from ._models import ResourceLimits, RunEnded, RunEvent, RunResult, RunStarted, RunText
from ._sse import EventDecoder
from ._version import __version__

DEFAULT_URL = "http://localhost:8080"

# Seconds. During a run the host sends nothing while it queues, pulls the image, boots and runs.
# These are the host's defaults; MARGIN covers clean-up and transfer.
CONNECT = 10.0
WRITE = 60.0
READ = 60.0
QUEUE = 60.0
PULL = 600.0
BOOT = 30.0
# One request that writes to a process, and a removal in a session.
INPUT = 440.0
REMOVAL = 300.0
MARGIN = 30.0

Env = Union[Mapping[str, str], Sequence[str]]
Limits = Union[ResourceLimits, Mapping[str, Optional[float]]]
Egress = Mapping[str, Any]
Input = Mapping[str, Any]
Workspace = Mapping[str, Any]
Content = Union[bytes, bytearray, memoryview, str, IO[bytes]]
Pieces = Union[Content, Iterable[bytes]]
AsyncPieces = Union[Pieces, AsyncIterable[bytes]]
Terminal = Tuple[int, int]

R = TypeVar("R")
if TYPE_CHECKING:
    # Not in typing before Python 3.10.
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")


class _BearerAuth(httpx.Auth):
    """Sends the API key as a bearer token. As an httpx.Auth it takes precedence over a .netrc entry of the host."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        yield request


@dataclass(frozen=True)
class Settings:
    """Settings of the connection to a host."""

    base_url: str
    auth: Optional[httpx.Auth] = field(repr=False)
    timeout: Optional[float]

    @staticmethod
    def resolve(base_url: Optional[str], api_key: Optional[str], timeout: Optional[float]) -> Settings:
        """Uses arguments first, then the environment, then defaults."""
        url = (base_url or os.environ.get("BOXER_URL") or DEFAULT_URL).strip()
        _check_url(url)
        key = (os.environ.get("BOXER_API_KEY", "") if api_key is None else api_key).strip()
        # Messages never contain the key.
        if any(not "!" <= character <= "~" for character in key):
            raise ValueError("api_key: must be printable ASCII without spaces.")
        if timeout is not None and not timeout > 0:
            raise ValueError("timeout: must be more than 0 seconds, or None.")
        return Settings(url, _BearerAuth(key) if key else None, timeout)

    def client_arguments(self) -> Dict[str, Any]:
        """Arguments for httpx.Client and httpx.AsyncClient."""
        return {
            "base_url": self.base_url,
            "auth": self.auth,
            "headers": {"User-Agent": f"boxer-python/{__version__}", "Accept": "application/json"},
            "timeout": self.silence(READ),
        }

    def silence(self, seconds: Optional[float]) -> httpx.Timeout:
        """A timeout that allows the host to be silent for this long, unless the user set a timeout."""
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

    def resuming(self, resume: bool) -> Call:
        """This request to a session, which resumes the session first if it is paused."""
        if not resume:
            return self
        return replace(self, arguments={**self.arguments, "params": {**self.arguments.get("params", {}), "resume": "true"}})

    def build(self, client: Union[httpx.Client, httpx.AsyncClient]) -> httpx.Request:
        arguments = dict(self.arguments)
        if self.timeout is not None:
            arguments["timeout"] = self.timeout
        return client.build_request(self.method, self.path, **arguments)


def run_body(
    image: str,
    cmd: Sequence[str],
    *,
    env: Optional[Env] = None,
    cwd: Optional[str] = None,
    limits: Optional[Limits] = None,
    files: Optional[Sequence[str]] = None,
    persist: bool = False,
    network: str = "none",
    egress: Optional[Egress] = None,
    stdin: Optional[str] = None,
    user: Optional[str] = None,
    output_files: Optional[str] = None,
    merge_stderr: bool = False,
    stop_grace_ms: int = 0,
    inputs: Optional[Sequence[Input]] = None,
    workspace: Optional[Workspace] = None,
    workspace_out: bool = False,
    terminal: Optional[Terminal] = None,
) -> Dict[str, Any]:
    """
    The body of ``/run`` and ``/run/stream``, without fields that are left to the host's defaults.

    This is the only declaration of the arguments of runs. :func:`with_arguments_of` gives them to the methods of both clients.
    """
    checked = limits if isinstance(limits, ResourceLimits) else ResourceLimits.from_mapping(limits or {})
    optional = {
        "env": env_list(env) if env else None,
        "cwd": cwd,
        "limits": checked.to_dict() or None,
        "egress": None if egress is None else dict(egress),
        "files": strings("files", files) if files else None,
        "stdin": stdin,
        "user": user,
        "outputs": output_files,
        "merge_stderr": True if merge_stderr else None,
        "stop_grace_ms": stop_grace_ms or None,
        "inputs": input_list(inputs),
        "workspace": None if workspace is None else workspace_body(workspace),
        "workspace_out": True if workspace_out else None,
        "terminal": None if terminal is None else terminal_size(*terminal),
    }
    body: Dict[str, Any] = {"image": image, "cmd": strings("cmd", cmd), "network": network, "persist": persist}
    body.update((name, value) for name, value in optional.items() if value is not None)
    return body


def with_arguments_of(source: Callable[P, Any]) -> Callable[[Callable[..., R]], Callable[Concatenate[Any, P], R]]:
    """Declares to type checkers and to ``help()`` that a method takes the arguments of a function."""

    def declare(method: Callable[..., R]) -> Callable[Concatenate[Any, P], R]:
        own = inspect.signature(method)
        parameters = [own.parameters["self"], *inspect.signature(source).parameters.values()]
        setattr(method, "__signature__", own.replace(parameters=parameters))
        return method

    return declare


def run_call(settings: Settings, path: str, body: Dict[str, Any]) -> Call:
    """A request to ``/run`` or ``/run/stream``."""
    wall = body.get("limits", {}).get("wall_clock_secs")
    # Without a limit in the request the host's default applies, which is unknown here: wait without a timeout.
    patience = None
    if wall and wall > 0:
        patience = QUEUE + PULL + BOOT + wall + body.get("stop_grace_ms", 0) / 1000 + MARGIN
    timeout = settings.silence(patience)
    content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    return Call("POST", path, {"content": content, "headers": headers}, timeout)


def workspace_body(workspace: Workspace) -> Dict[str, Any]:
    files = workspace.get("files")
    return {**workspace, "files": [_input(item) for item in files]} if files else dict(workspace)


def input_list(inputs: Optional[Sequence[Input]]) -> Optional[List[Dict[str, Any]]]:
    return [_input(item) for item in inputs] if inputs else None


def terminal_size(columns: int, rows: int) -> Dict[str, int]:
    return {"cols": int(columns), "rows": int(rows)}


def _input(item: Input) -> Dict[str, Any]:
    """A file in the request. Bytes are encoded in base64."""
    content = item.get("content")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        return dict(item)
    rest = {name: value for name, value in item.items() if name != "content"}
    return {**rest, "content_base64": base64.b64encode(bytes(content)).decode("ascii")}


def upload_call(remote_path: str, content: Content) -> Call:
    # A pipe has no known length, which the upload must declare.
    is_file = not isinstance(content, (str, bytes, bytearray, memoryview)) and content.seekable()
    data = content if is_file else content_bytes(content)
    # The host uses only `path`, so the part needs no file name.
    part = ("file", data, "application/octet-stream")
    return Call("POST", "/files", {"data": {"path": remote_path}, "files": {"file": part}})


def content_bytes(content: Content) -> bytes:
    """The bytes of an argument that may be text (as UTF-8), bytes or a binary file object."""
    if isinstance(content, str):
        return content.encode("utf-8")
    return bytes(content) if isinstance(content, (bytes, bytearray, memoryview)) else content.read()


PIECE = 1 << 16


def pieces(content: Pieces) -> Union[bytes, Iterable[bytes]]:
    """The body of an upload that is sent as it is read."""
    if isinstance(content, (str, bytes, bytearray, memoryview)):
        return content_bytes(content)
    read: Optional[Callable[[int], bytes]] = getattr(content, "read", None)
    # A file itself yields lines, and httpx would declare its whole length, wherever it is read from.
    return content if read is None else iter(partial(read, PIECE), b"")


def async_pieces(content: AsyncPieces) -> Union[bytes, AsyncIterable[bytes]]:
    """The asynchronous version of :func:`pieces`. Files and iterators that are not asynchronous block the event loop while they are read."""
    if isinstance(content, AsyncIterable):
        return content
    ready = pieces(content)
    return ready if isinstance(ready, bytes) else _each(ready)


async def _each(content: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


def download_call(path: str) -> Call:
    return Call("GET", "/files", {"params": {"path": path}, "headers": {"Accept": "*/*"}})


def health_call() -> Call:
    return Call("GET", "/healthz", {})


@contextlib.contextmanager
def transport_errors(request: httpx.Request) -> Iterator[None]:
    """Maps httpx errors to errors of this package."""
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


@contextlib.contextmanager
def answer(http: httpx.Client, call: Call) -> Iterator[httpx.Response]:
    """Sends a call and yields its successful response, whose body is not read yet. The response is closed at the end."""
    request = call.build(http)
    with transport_errors(request):
        response = http.send(request, stream=True)
        try:
            if not response.is_success:
                response.read()
                check_status(response)
            yield response
        finally:
            response.close()


@contextlib.asynccontextmanager
async def async_answer(http: httpx.AsyncClient, call: Call) -> AsyncIterator[httpx.Response]:
    """The asynchronous version of :func:`answer`."""
    request = call.build(http)
    with transport_errors(request):
        response = await http.send(request, stream=True)
        try:
            if not response.is_success:
                await response.aread()
                check_status(response)
            yield response
        finally:
            await response.aclose()


@contextlib.contextmanager
def socket_errors(request: Optional[httpx.Request] = None) -> Iterator[None]:
    """Maps errors of a socket to errors of this package."""
    where = "the connection" if request is None else f"{request.method} {request.url.copy_with(query=None)}"
    try:
        yield
    except (OSError, asyncio.TimeoutError) as error:
        raise BoxerConnectionError(f"{where}: {str(error) or type(error).__name__}") from error


def run_result(response: httpx.Response) -> RunResult:
    return RunResult.from_json(json_body(response))


def uploaded_path(response: httpx.Response) -> str:
    path = json_body(response).get("path")
    if not isinstance(path, str):
        raise BoxerProtocolError("the response to the upload has no 'path'; is this the address of a Boxer host?")
    return path


def json_body(response: httpx.Response) -> Dict[str, Any]:
    """The JSON body of a successful response; raises for other responses. The body must have been read."""
    check_status(response)
    body = json_object(response.content)
    if body is None:
        raise BoxerProtocolError(f"the response is not JSON but {excerpt(response)}; is this the address of a Boxer host?")
    return body


def check_status(response: httpx.Response) -> None:
    """Raises unless the status is a success. The body of other responses must have been read."""
    if response.is_success:
        return
    body = json_object(response.content) or {}
    message = body.get("error")
    if not isinstance(message, str):
        location = response.headers.get("Location")
        message = f"redirect to {location} not followed" if location else excerpt(response)
    raise api_error(response.status_code, message, body, _retry_after(response))


def check_events(response: httpx.Response) -> None:
    """Raises unless the response is a stream of events."""
    kind = response.headers.get("Content-Type", "")
    if kind.split(";")[0].strip().lower() != "text/event-stream":
        raise BoxerProtocolError(f"the response is not a stream of events but {kind!r}; is this the address of a Boxer host?")


def api_error(status: int, message: str, body: Mapping[str, Any], retry_after: Optional[float] = None) -> BoxerAPIError:
    def text(name: str) -> str:
        value = body.get(name)
        return value if isinstance(value, str) else ""

    return api_error_class(status, body)(
        status,
        message,
        exec_id=text("exec_id") or None,
        stdout=text("stdout"),
        stderr=text("stderr"),
        retry_after=retry_after,
        raw=body,
    )


class Download:
    """The received bytes of a file, with an optional limit."""

    def __init__(self, max_bytes: Optional[int]) -> None:
        self._max_bytes = max_bytes
        self._data = bytearray()

    def add(self, chunk: bytes) -> None:
        if self._max_bytes is not None and len(self._data) + len(chunk) > self._max_bytes:
            raise BoxerError(f"the file is larger than max_bytes ({self._max_bytes})")
        self._data += chunk

    def content(self) -> bytes:
        return bytes(self._data)


def event_body(name: str, data: str) -> Dict[str, Any]:
    """The data of an event."""
    body = json_object(data)
    if body is None:
        raise BoxerProtocolError(f"the data of the event {name!r} is not a JSON object")
    return body


class EventReader:
    """Decodes the events of ``/run/stream``."""

    def __init__(self) -> None:
        self._decoder = EventDecoder()

    def feed(self, chunk: bytes) -> Iterator[RunEvent]:
        """Yields the events that end in this chunk."""
        for item in self._decoder.feed(chunk):
            event = _event(item.name, item.data)
            if event is not None:
                yield event


def _event(name: str, data: str) -> Optional[RunEvent]:
    if name not in ("started", "stdout", "stderr", "end"):
        # A keep-alive comment, or an event of a newer host.
        return None
    body = event_body(name, data)
    if name == "end":
        # The status that /run would have returned; the status line was already sent.
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


def strings(name: str, values: Sequence[str]) -> List[str]:
    # A string is a sequence of strings too, but passing one is always a mistake.
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name}: must be a list of strings, not one {type(values).__name__}")
    items = list(values)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"{name}: must contain strings only, not {type(item).__name__}")
    return items


def env_list(env: Env) -> List[str]:
    if not isinstance(env, Mapping):
        return strings("env", env)
    for key in env:
        if isinstance(key, str) and "=" in key:
            raise ValueError(f"env: the name {key!r} must not contain '='")
    # Values may be secrets, so messages contain only names.
    for key, value in env.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"env: name and value of {key!r} must be strings")
    return [f"{key}={value}" for key, value in env.items()]


def json_object(text: Union[str, bytes]) -> Optional[Dict[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def excerpt(response: httpx.Response) -> str:
    text = response.content[:200].decode("utf-8", "replace").strip()
    return repr(text) if text else "an empty body"


def _retry_after(response: httpx.Response) -> Optional[float]:
    """Seconds in the Retry-After header, which is a number or a date (RFC 9110, section 10.2.3)."""
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

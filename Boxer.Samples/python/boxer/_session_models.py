from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Union

from ._errors import BoxerProtocolError
from ._models import optional, required


@dataclass(frozen=True)
class SessionInfo:
    """A session, as the host described it last."""

    id: str
    """Identifier of the session."""

    state: str
    """``running``, ``idle``, ``paused`` or ``ended``."""

    ended: Optional[str] = None
    """The reason, once it has ended: ``closed``, ``idle_timeout``, ``lifetime``, ``memory_limit``, ``sandbox_died`` or ``host_stopped``."""

    image_digest: Optional[str] = None
    """Digest of the image's manifest."""

    created_at: Optional[str] = None
    """Time of the opening, in RFC 3339 format."""

    expires_at: Optional[str] = None
    """Time at which the session ends if nothing is called, in RFC 3339 format; ``None`` while it is paused and after its end."""

    idle_timeout_secs: Optional[float] = None
    """Seconds after the end of the last call after which the session ends."""

    lifetime_secs: Optional[float] = None
    """Seconds from the opening, without paused time, after which the session ends."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels given when it was opened."""

    network_denied: List[Any] = field(default_factory=list)
    """Connections and names that the session was denied so far, as the host reports them; only in the answer of ``refresh``."""

    network_usage: Mapping[str, int] = field(default_factory=dict)
    """``bytes_in`` and ``bytes_out`` of the session so far, if its network mode counts them; only in the answer of ``refresh``."""

    network_incomplete: Optional[str] = None
    """The reason why ``network_denied`` and ``network_usage`` are missing."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The whole JSON body."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> SessionInfo:
        """Parses a session; raises :class:`BoxerProtocolError` for anything else."""
        return cls(
            id=required(body, "id", str),
            state=required(body, "state", str),
            ended=optional(body, "ended", str, None),
            image_digest=optional(body, "image_digest", str, None),
            created_at=optional(body, "created_at", str, None),
            expires_at=optional(body, "expires_at", str, None),
            idle_timeout_secs=optional(body, "idle_timeout_secs", (int, float), None),
            lifetime_secs=optional(body, "lifetime_secs", (int, float), None),
            labels=optional(body, "labels", dict, {}),
            network_denied=optional(body, "network_denied", list, []),
            network_usage=optional(body, "network_usage", dict, {}),
            network_incomplete=optional(body, "network_incomplete", str, None),
            raw=body,
        )


@dataclass(frozen=True)
class ProcessEnded:
    """A process has ended; always the last event."""

    termination: str
    """The reason: ``exited``, ``signaled`` or the name of a limit."""

    exit_code: int
    """The exit code as in a shell: 128 + n for signal n."""

    signal: Optional[int] = None
    """Number of the signal that ended the process, if one did."""

    left_behind: int = 0
    """Number of processes that it left running in the session."""

    usage: Mapping[str, float] = field(default_factory=dict)
    """Resource usage: ``cpu_ms``, where known."""

    session_ended: Optional[str] = None
    """The reason why the session ended, if that ended the process; see :attr:`SessionInfo.ended`."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The whole JSON body."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ProcessEnded:
        """Parses the data of the event; raises :class:`BoxerProtocolError` for anything else."""
        return cls(
            termination=required(body, "termination", str),
            exit_code=required(body, "exit_code", int),
            signal=optional(body, "signal", int, None),
            left_behind=optional(body, "left_behind", int, 0),
            usage=optional(body, "usage", dict, {}),
            session_ended=optional(body, "session_ended", str, None),
            raw=body,
        )


@dataclass(frozen=True)
class ProcessOutput:
    """A process wrote output."""

    offset: int
    """Number of bytes that the process wrote before, to all streams together. It jumps where the host has dropped old output."""

    stream: str
    """``"stdout"``, ``"stderr"``, or ``"output"`` for a terminal."""

    data: bytes
    """The bytes. A character may continue in the next event."""


ProcessEvent = Union[ProcessOutput, ProcessEnded]


@dataclass(frozen=True)
class ProcessInfo:
    """A process that was started in a session, as the host described it last."""

    pid: int
    """Identifier of the process in its session."""

    cmd: List[str] = field(default_factory=list)
    """The program and its arguments; empty until the host has described the process."""

    terminal: bool = False
    """Whether the process has a terminal."""

    started_at: Optional[str] = None
    """Time of the start, in RFC 3339 format."""

    ended: Optional[ProcessEnded] = None
    """The end; ``None`` while the process lives."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The whole JSON body."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ProcessInfo:
        """Parses a process; raises :class:`BoxerProtocolError` for anything else."""
        ended = optional(body, "ended", dict, None)
        return cls(
            pid=required(body, "pid", int),
            cmd=optional(body, "cmd", list, []),
            terminal=bool(body.get("terminal")),
            started_at=optional(body, "started_at", str, None),
            ended=None if ended is None else ProcessEnded.from_json(ended),
            raw=body,
        )


@dataclass(frozen=True)
class FileInfo:
    """A file or directory of a session."""

    path: str
    """The path, relative to the listed directory."""

    type: str
    """``file``, ``directory``, ``symlink`` or ``other``."""

    size: int = 0
    """Size in bytes."""

    mode: Optional[str] = None
    """Permission bits in octal: ``"0644"``."""

    modified_at: Optional[str] = None
    """Time of the last modification, in RFC 3339 format."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> FileInfo:
        """Parses an entry; raises :class:`BoxerProtocolError` for anything else."""
        return cls(
            path=required(body, "path", str),
            type=required(body, "type", str),
            size=optional(body, "size", int, 0),
            mode=optional(body, "mode", str, None),
            modified_at=optional(body, "modified_at", str, None),
        )


@dataclass(frozen=True)
class FileChange:
    """A change of a watched file, or below a watched directory."""

    kind: str
    """``created``, ``changed``, ``deleted``, or ``overflow``: changes were lost, so list the directory again."""

    path: str
    """The path, relative to the watched directory; empty for the watched file or directory itself, and for ``overflow``."""


class FileList(List[FileInfo]):
    """The entries of a directory."""

    incomplete: bool = False
    """Whether the host left entries out because there are too many."""


def output_bytes(body: Mapping[str, Any]) -> bytes:
    """The bytes of an output event. The host sends base64 for bytes that are not valid UTF-8."""
    encoded = body.get("content_base64")
    if isinstance(encoded, str):
        try:
            return base64.b64decode(encoded, validate=True)
        except ValueError:
            raise BoxerProtocolError("the output of a process is not valid base64") from None
    text: str = required(body, "text", str)
    return text.encode("utf-8", "surrogatepass")


def objects(value: Any) -> List[Dict[str, Any]]:
    """A list of JSON objects; raises :class:`BoxerProtocolError` for anything else."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BoxerProtocolError("the response is not a list of objects; is this the address of a Boxer host?")
    return value

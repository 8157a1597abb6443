from __future__ import annotations

import base64
import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Union

from ._errors import BoxerProtocolError, printed_bytes


@dataclass(frozen=True)
class ResourceLimits:
    """Limits of one run. ``None`` or 0 means the host's default. The host rejects values out of range."""

    cpu_cores: Optional[float] = None
    """Processor time per wall-clock time, in cores."""

    memory_mb: Optional[int] = None
    """Memory of the whole sandbox in MiB."""

    pids_limit: Optional[int] = None
    """Maximum number of processes and threads of the command's user."""

    wall_clock_secs: Optional[float] = None
    """Seconds from the start of the command to its end."""

    nofile: Optional[int] = None
    """Maximum number of open descriptors of one process."""

    disk_mb: Optional[int] = None
    """Size in MiB of /tmp, $HOME, /dev/shm, the workspace and /output together. Their contents also count as memory."""

    cpu_time_secs: Optional[float] = None
    """Seconds of processor time of the whole sandbox, on all cores together. Default: the host's limit, if it has one."""

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            whole = name not in _FRACTIONS
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                expected = "a whole number" if whole else "a number"
                raise TypeError(f"limits: {name} must be {expected}, not {type(value).__name__}")

    @classmethod
    def from_mapping(cls, limits: Mapping[str, Optional[float]]) -> ResourceLimits:
        """Creates limits from a mapping; raises ``ValueError`` for unknown keys."""
        names = [item.name for item in dataclasses.fields(cls)]
        for key in limits:
            if key not in names:
                close = difflib.get_close_matches(str(key), names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}."
                raise ValueError(f"limits: unknown key {key!r}; {hint}")
        values: Dict[str, Any] = dict(limits)
        return cls(**values)

    def to_dict(self) -> Dict[str, float]:
        """The limits that are set, by their names in the HTTP API."""
        values = ((item.name, getattr(self, item.name)) for item in dataclasses.fields(self))
        return {name: value for name, value in values if value is not None}


_FRACTIONS = frozenset({"cpu_cores", "wall_clock_secs", "cpu_time_secs"})


@dataclass(frozen=True)
class OutputFile:
    """A file that a run wrote under ``/output``."""

    path: str
    """The path for ``download_file``: ``output/<exec_id>/<path below /output>``. With ``output_files="inline"``, the path below ``/output``."""

    size: int
    """Size in bytes."""

    content: Optional[bytes] = None
    """The content, with ``output_files="inline"``."""

    mode: Optional[str] = None
    """Permission bits as the command set them, in octal: ``"0644"``."""

    modified_at: Optional[str] = None
    """Time of the last modification as the command set it, in RFC 3339 format."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run. Values that an older host does not report are ``None`` or empty."""

    exec_id: str
    """Identifier of the run: ``boxer-`` and a UUID."""

    exit_code: int
    """The exit code as in a shell: 128 + n for signal n; 137 if a limit on memory, processor time or processes ended the run."""

    stdout: str
    """Standard output. Bytes that are not valid UTF-8 are replaced by U+FFFD."""

    stderr: str
    """Standard error. Bytes that are not valid UTF-8 are replaced by U+FFFD."""

    wall_ms: float
    """Milliseconds that the command ran."""

    termination: Optional[str] = None
    """The reason why the run ended: ``exited``, ``signaled``, ``cpu_time_limit``, ``memory_limit``, ``pids_limit`` or ``disk_limit``."""

    signal: Optional[int] = None
    """Number of the signal that ended the command, if one did."""

    error: Optional[str] = None
    """A message, if a limit ended the run."""

    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds that each stage took."""

    usage: Mapping[str, float] = field(default_factory=dict)
    """Resource usage: ``cpu_ms``, ``command_cpu_ms``, ``sandbox_cpu_ms``, ``peak_memory_bytes`` (a lower bound) and ``max_rss_bytes``. Values that
    the host cannot measure are missing."""

    network_denied: List[Any] = field(default_factory=list)
    """Connections and names that the network mode denied, as the host reports them."""

    network_incomplete: Optional[str] = None
    """The reason why ``network_denied`` is incomplete."""

    output_files: List[OutputFile] = field(default_factory=list)
    """Files under ``/output`` that the host kept or returned; empty if neither was requested."""

    output_files_dropped: int = 0
    """Number of files under ``/output`` that were dropped because the request did not ask for them."""

    workspace: Optional[bytes] = field(default=None, repr=False)
    """Files that the command created or changed in its workspace, as a tar archive; with ``workspace_out``. The archive is untrusted: unpack it into an empty directory."""

    workspace_incomplete: Optional[str] = None
    """The reason why ``workspace`` is incomplete."""

    left_behind: int = 0
    """Number of processes that the command left running in its session; always 0 outside of sessions."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole JSON body, including members that this version of the package does not know."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> RunResult:
        """Parses a response of ``POST /run``; raises :class:`BoxerProtocolError` for anything else."""
        return cls(
            exec_id=required(body, "exec_id", str),
            exit_code=required(body, "exit_code", int),
            stdout=required(body, "stdout", str),
            stderr=required(body, "stderr", str),
            wall_ms=required(body, "wall_ms", (int, float)),
            termination=optional(body, "termination", str, None),
            signal=optional(body, "signal", int, None),
            timings_ms=optional(body, "timings_ms", dict, {}),
            usage=optional(body, "usage", dict, {}),
            network_denied=optional(body, "network_denied", list, []),
            network_incomplete=optional(body, "network_incomplete", str, None),
            error=optional(body, "error", str, None),
            output_files=[file for item in optional(body, "outputs", list, []) for file in _output(item)],
            output_files_dropped=optional(body, "outputs_dropped", int, 0),
            workspace=decoded(optional(body, "workspace_base64", str, None)),
            workspace_incomplete=optional(body, "workspace_incomplete", str, None),
            left_behind=optional(body, "left_behind", int, 0),
            raw=body,
        )

    @property
    def stdout_bytes(self) -> bytes:
        """Standard output as bytes."""
        return printed_bytes(self.raw, "stdout_base64", self.stdout)

    @property
    def stderr_bytes(self) -> bytes:
        """Standard error as bytes."""
        return printed_bytes(self.raw, "stderr_base64", self.stderr)


@dataclass(frozen=True)
class RunStarted:
    """The command has started."""

    exec_id: str


@dataclass(frozen=True)
class RunText:
    """The command wrote output."""

    stream: str
    """``"stdout"`` or ``"stderr"``."""

    text: str


@dataclass(frozen=True)
class RunEnded:
    """The run has ended; always the last event."""

    result: RunResult


RunEvent = Union[RunStarted, RunText, RunEnded]


def required(body: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = body.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BoxerProtocolError(f"the response has no usable {name!r}; is this the address of a Boxer host?")
    return value


def decoded(content: Any) -> Optional[bytes]:
    return base64.b64decode(content) if isinstance(content, str) else None


def _output(item: Any) -> List[OutputFile]:
    if isinstance(item, dict) and isinstance(item.get("path"), str) and isinstance(item.get("size"), int):
        content = item.get("content_base64")
        return [
            OutputFile(
                item["path"],
                item["size"],
                decoded(content),
                optional(item, "mode", str, None),
                optional(item, "modified_at", str, None),
            )
        ]
    return []


def optional(body: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = body.get(name)
    return value if isinstance(value, kind) else default

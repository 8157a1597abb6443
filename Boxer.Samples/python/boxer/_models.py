from __future__ import annotations

import base64
import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Union

from ._errors import BoxerProtocolError, printed_bytes


@dataclass(frozen=True)
class ResourceLimits:
    """Limits of one run. ``None`` or 0 means the host's default; the host refuses what is out of range."""

    cpu_cores: Optional[float] = None
    """Processor time per wall-clock time, in cores."""

    memory_mb: Optional[int] = None
    """Memory of the whole sandbox in MiB."""

    pids_limit: Optional[int] = None
    """Processes and threads of the command's user."""

    wall_clock_secs: Optional[float] = None
    """Seconds from the start of the command to its end."""

    nofile: Optional[int] = None
    """Open descriptors of one process."""

    disk_mb: Optional[int] = None
    """Size in MiB of /tmp, $HOME, /dev/shm, the workspace and /output together, which count as memory too."""

    cpu_time_secs: Optional[float] = None
    """Seconds of processor time of the whole sandbox, on all cores together. Default: no limit, unless the host has one."""

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            whole = name not in _FRACTIONS
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                expected = "a whole number" if whole else "a number"
                raise TypeError(f"limits: {name} must be {expected}, not {type(value).__name__}")

    @classmethod
    def from_mapping(cls, limits: Mapping[str, Optional[float]]) -> ResourceLimits:
        """Makes limits from a mapping; raises ``ValueError`` for a key that is no limit."""
        names = [item.name for item in dataclasses.fields(cls)]
        for key in limits:
            if key not in names:
                close = difflib.get_close_matches(str(key), names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}."
                raise ValueError(f"limits: unknown key {key!r}; {hint}")
        values: Dict[str, Any] = dict(limits)
        return cls(**values)

    def to_dict(self) -> Dict[str, float]:
        """The limits that are set, by their names in the HTTP contract."""
        values = ((item.name, getattr(self, item.name)) for item in dataclasses.fields(self))
        return {name: value for name, value in values if value is not None}


_FRACTIONS = frozenset({"cpu_cores", "wall_clock_secs", "cpu_time_secs"})


@dataclass(frozen=True)
class OutputFile:
    """A file that a run left under ``/output``."""

    path: str
    """What ``download_file`` takes: ``output/<exec_id>/<path below /output>``; with ``output_files="inline"`` the path below ``/output``."""

    size: int
    """Its size in bytes."""

    content: Optional[bytes] = None
    """Its content, with ``output_files="inline"``."""

    mode: Optional[str] = None
    """Its permission bits as the command set them, in octal: ``"0644"``."""

    modified_at: Optional[str] = None
    """When it was modified, as the command says: RFC 3339."""


@dataclass(frozen=True)
class RunResult:
    """What a run left. What an older host does not report is ``None`` or empty."""

    exec_id: str
    """The identifier of the run: ``boxer-`` and a UUID."""

    exit_code: int
    """The exit code as a shell gives it: 128 + n for signal n, 137 for the limits of memory, of processor time and of processes."""

    stdout: str
    """Standard output; bytes that are not UTF-8 are U+FFFD."""

    stderr: str
    """Standard error; bytes that are not UTF-8 are U+FFFD."""

    wall_ms: float
    """How long the command ran, in milliseconds."""

    termination: Optional[str] = None
    """Why the run ended: ``exited``, ``signaled``, ``cpu_time_limit``, ``memory_limit``, ``pids_limit`` or ``disk_limit``."""

    signal: Optional[int] = None
    """The number of the signal that ended the command, where one did."""

    error: Optional[str] = None
    """Why the run ended, in words, where a limit ended it."""

    timings_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds that each stage took."""

    usage: Mapping[str, float] = field(default_factory=dict)
    """What the run used: ``cpu_ms``, ``command_cpu_ms``, ``sandbox_cpu_ms``, ``peak_memory_bytes`` (at least) and ``max_rss_bytes``, where the
    host can tell."""

    network_denied: List[Any] = field(default_factory=list)
    """What the network mode refused, as the host reports it."""

    network_incomplete: Optional[str] = None
    """Why the host could not read everything that the run did with its network."""

    output_files: List[OutputFile] = field(default_factory=list)
    """What the command left under ``/output`` and the host kept or sent; empty where neither was asked for."""

    output_files_dropped: int = 0
    """How many files were under ``/output`` and dropped, because nobody asked for them."""

    workspace: Optional[bytes] = field(default=None, repr=False)
    """What the command changed or made in its workspace, as a tar archive; with ``workspace_out``. It is untrusted: unpack it into an empty directory."""

    workspace_incomplete: Optional[str] = None
    """Why ``workspace`` is not everything."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole JSON body, with what this version of the package has no field for."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> RunResult:
        """Reads an answer of ``POST /run``; raises :class:`BoxerProtocolError` where it is none."""
        return cls(
            exec_id=_required(body, "exec_id", str),
            exit_code=_required(body, "exit_code", int),
            stdout=_required(body, "stdout", str),
            stderr=_required(body, "stderr", str),
            wall_ms=_required(body, "wall_ms", (int, float)),
            termination=_optional(body, "termination", str, None),
            signal=_optional(body, "signal", int, None),
            timings_ms=_optional(body, "timings_ms", dict, {}),
            usage=_optional(body, "usage", dict, {}),
            network_denied=_optional(body, "network_denied", list, []),
            network_incomplete=_optional(body, "network_incomplete", str, None),
            error=_optional(body, "error", str, None),
            output_files=[file for item in _optional(body, "outputs", list, []) for file in _output(item)],
            output_files_dropped=_optional(body, "outputs_dropped", int, 0),
            workspace=_decoded(_optional(body, "workspace_base64", str, None)),
            workspace_incomplete=_optional(body, "workspace_incomplete", str, None),
            raw=body,
        )

    @property
    def stdout_bytes(self) -> bytes:
        """Standard output as it was, where the host sent it; else ``stdout`` as UTF-8."""
        return printed_bytes(self.raw, "stdout_base64", self.stdout)

    @property
    def stderr_bytes(self) -> bytes:
        """Standard error as it was, where the host sent it; else ``stderr`` as UTF-8."""
        return printed_bytes(self.raw, "stderr_base64", self.stderr)


@dataclass(frozen=True)
class RunStarted:
    """The command was started."""

    exec_id: str


@dataclass(frozen=True)
class RunText:
    """The command printed something."""

    stream: str
    """``"stdout"`` or ``"stderr"``."""

    text: str


@dataclass(frozen=True)
class RunEnded:
    """The run is over; always the last event."""

    result: RunResult


RunEvent = Union[RunStarted, RunText, RunEnded]


def _required(body: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = body.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BoxerProtocolError(f"the answer has no usable {name!r}; is this the address of a Boxer host?")
    return value


def _decoded(content: Any) -> Optional[bytes]:
    return base64.b64decode(content) if isinstance(content, str) else None


def _output(item: Any) -> List[OutputFile]:
    if isinstance(item, dict) and isinstance(item.get("path"), str) and isinstance(item.get("size"), int):
        content = item.get("content_base64")
        return [
            OutputFile(
                item["path"],
                item["size"],
                _decoded(content),
                _optional(item, "mode", str, None),
                _optional(item, "modified_at", str, None),
            )
        ]
    return []


def _optional(body: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = body.get(name)
    return value if isinstance(value, kind) else default

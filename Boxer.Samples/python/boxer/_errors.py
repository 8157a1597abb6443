from __future__ import annotations

import base64
from typing import Any, Mapping, Optional


class BoxerError(Exception):
    """Base class of all errors about a host. Invalid arguments raise ``ValueError`` or ``TypeError`` instead."""


class BoxerConnectionError(BoxerError):
    """The host could not be reached, closed the connection or timed out. The run may or may not have happened."""


class BoxerProtocolError(BoxerError):
    """The response is not from a Boxer host."""


class BoxerAPIError(BoxerError):
    """The host returned an error status."""

    status_code: int
    """The HTTP status."""

    message: str
    """The host's error message, or a description of the response if it has none."""

    exec_id: Optional[str]
    """Identifier of the run; ``None`` if the command did not run."""

    stdout: str
    """Standard output of the run so far."""

    stderr: str
    """Standard error of the run so far."""

    retry_after: Optional[float]
    """Seconds after which to retry, if the host suggests it."""

    raw: Mapping[str, Any]
    """The whole JSON body; empty if the response had none."""

    def __init__(
        self,
        status_code: int,
        message: str,
        *,
        exec_id: Optional[str] = None,
        stdout: str = "",
        stderr: str = "",
        retry_after: Optional[float] = None,
        raw: Optional[Mapping[str, Any]] = None,
    ) -> None:
        super().__init__(status_code, message)
        self.status_code = status_code
        self.message = message
        self.exec_id = exec_id
        self.stdout = stdout
        self.stderr = stderr
        self.retry_after = retry_after
        self.raw = {} if raw is None else raw

    @property
    def termination(self) -> Optional[str]:
        """The reason why the run ended, if it ran: ``wall_clock_limit``, ``output_limit``, ``not_started`` or ``sandbox_died``."""
        value = self.raw.get("termination")
        return value if isinstance(value, str) else None

    @property
    def usage(self) -> Mapping[str, float]:
        """Resource usage as in ``RunResult.usage``; empty if the command did not run."""
        value = self.raw.get("usage")
        return value if isinstance(value, dict) else {}

    @property
    def stdout_bytes(self) -> bytes:
        """Standard output as bytes."""
        return printed_bytes(self.raw, "stdout_base64", self.stdout)

    @property
    def stderr_bytes(self) -> bytes:
        """Standard error as bytes."""
        return printed_bytes(self.raw, "stderr_base64", self.stderr)

    def __str__(self) -> str:
        return f"HTTP {self.status_code}: {self.message}"


class BoxerTimeoutError(BoxerAPIError):
    """408: the run exceeded its wall-clock limit. ``stdout`` and ``stderr`` have the output until then."""


class BoxerOutputLimitError(BoxerAPIError):
    """507: the run exceeded the output limit, or the host's disk is full. ``stdout`` and ``stderr`` have the first bytes of the output."""


class BoxerCapacityError(BoxerAPIError):
    """429: the host is busy. Nothing was run; retry after ``retry_after`` seconds."""


class BoxerNotFoundError(BoxerAPIError):
    """404: the image, file, session or process does not exist, or belongs to another API key."""


class BoxerSessionEndedError(BoxerAPIError):
    """
    410: the session has ended, perhaps during this call. Files and processes are lost; ``stdout`` and ``stderr`` have what a command of this call had
    printed. The host remembers the end for an hour; later calls raise :class:`BoxerNotFoundError`.
    """

    @property
    def ended(self) -> Optional[str]:
        """The reason: ``closed``, ``idle_timeout``, ``lifetime``, ``memory_limit``, ``sandbox_died`` or ``host_stopped``."""
        value = self.raw.get("ended")
        return value if isinstance(value, str) else None


class BoxerSessionPausedError(BoxerAPIError):
    """409: the session is paused; call its ``resume`` first, or make the call with ``resume=True``."""

    def __str__(self) -> str:
        # The host's message has the words of its HTTP interface.
        return f"HTTP {self.status_code}: the session is paused; call resume() first, or make the call with resume=True"


_BY_STATUS = {404: BoxerNotFoundError, 408: BoxerTimeoutError, 410: BoxerSessionEndedError, 429: BoxerCapacityError, 507: BoxerOutputLimitError}


def printed_bytes(raw: Mapping[str, Any], name: str, text: str) -> bytes:
    """The bytes of an output. The host sends them only if they are not valid UTF-8."""
    encoded = raw.get(name)
    return base64.b64decode(encoded) if isinstance(encoded, str) else text.encode("utf-8")


def api_error_class(status_code: int, body: Mapping[str, Any]) -> type[BoxerAPIError]:
    # Other conflicts, such as a file that exists, have this status too.
    if status_code == 409 and body.get("state") == "paused":
        return BoxerSessionPausedError
    return _BY_STATUS.get(status_code, BoxerAPIError)

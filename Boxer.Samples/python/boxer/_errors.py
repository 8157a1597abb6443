from __future__ import annotations

import base64
from typing import Any, Mapping, Optional


class BoxerError(Exception):
    """Base of everything this package raises about a host. Wrong arguments are ``ValueError`` or ``TypeError``."""


class BoxerConnectionError(BoxerError):
    """The host could not be reached, went away or stayed silent for too long. Whether a run took place is not known."""


class BoxerProtocolError(BoxerError):
    """The answer is not one that a Boxer host gives."""


class BoxerAPIError(BoxerError):
    """The host answered with an error status."""

    status_code: int
    """The HTTP status."""

    message: str
    """The host's own words, else a description of the answer."""

    exec_id: Optional[str]
    """The identifier of the run, where one took place."""

    stdout: str
    """What the run had printed to standard output."""

    stderr: str
    """What the run had printed to standard error."""

    retry_after: Optional[float]
    """Seconds after which the host suggests to try again, where it does."""

    raw: Mapping[str, Any]
    """The whole JSON body; empty where it was none."""

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
        """Why the run ended, where one took place: ``wall_clock_limit``, ``output_limit``, ``not_started`` or ``sandbox_died``."""
        value = self.raw.get("termination")
        return value if isinstance(value, str) else None

    @property
    def usage(self) -> Mapping[str, float]:
        """What the run used, as in ``RunResult.usage``; empty where none took place."""
        value = self.raw.get("usage")
        return value if isinstance(value, dict) else {}

    @property
    def stdout_bytes(self) -> bytes:
        """Standard output as it was, where the host sent it; else ``stdout`` as UTF-8."""
        return printed_bytes(self.raw, "stdout_base64", self.stdout)

    @property
    def stderr_bytes(self) -> bytes:
        """Standard error as it was, where the host sent it; else ``stderr`` as UTF-8."""
        return printed_bytes(self.raw, "stderr_base64", self.stderr)

    def __str__(self) -> str:
        return f"HTTP {self.status_code}: {self.message}"


class BoxerTimeoutError(BoxerAPIError):
    """408: the run reached its wall-clock limit. What it printed until then is in ``stdout`` and ``stderr``."""


class BoxerOutputLimitError(BoxerAPIError):
    """507: the run printed more than the host allows, or the host's disk is full. The first bytes are in ``stdout`` and ``stderr``."""


class BoxerCapacityError(BoxerAPIError):
    """429: too many runs wait, or the host has no more room for requests. Nothing was run; try again after ``retry_after`` seconds."""


_BY_STATUS = {408: BoxerTimeoutError, 429: BoxerCapacityError, 507: BoxerOutputLimitError}


def printed_bytes(raw: Mapping[str, Any], name: str, text: str) -> bytes:
    """What was printed: the host sends bytes only where the text does not say it all."""
    encoded = raw.get(name)
    return base64.b64decode(encoded) if isinstance(encoded, str) else text.encode("utf-8")


def api_error_class(status_code: int) -> type[BoxerAPIError]:
    return _BY_STATUS.get(status_code, BoxerAPIError)

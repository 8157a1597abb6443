from __future__ import annotations

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

    def __str__(self) -> str:
        return f"HTTP {self.status_code}: {self.message}"


class BoxerTimeoutError(BoxerAPIError):
    """408: the run reached its wall-clock limit. What it printed until then is in ``stdout`` and ``stderr``."""


class BoxerOutputLimitError(BoxerAPIError):
    """507: the run printed more than the host allows. The first bytes are in ``stdout`` and ``stderr``."""


class BoxerCapacityError(BoxerAPIError):
    """429: too many runs wait. Nothing was run; try again after ``retry_after`` seconds."""


_BY_STATUS = {408: BoxerTimeoutError, 429: BoxerCapacityError, 507: BoxerOutputLimitError}


def api_error_class(status_code: int) -> type[BoxerAPIError]:
    return _BY_STATUS.get(status_code, BoxerAPIError)

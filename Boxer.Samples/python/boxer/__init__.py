"""Client of the Boxer HTTP host: run commands from OCI images in gVisor sandboxes."""

from ._async_client import AsyncBoxerClient, AsyncRunStream
from ._client import BoxerClient, RunStream
from ._errors import (
    BoxerAPIError,
    BoxerCapacityError,
    BoxerConnectionError,
    BoxerError,
    BoxerOutputLimitError,
    BoxerProtocolError,
    BoxerTimeoutError,
)
from ._models import OutputFile, ResourceLimits, RunEnded, RunEvent, RunResult, RunStarted, RunText
from ._version import __version__

__all__ = [
    "AsyncBoxerClient",
    "AsyncRunStream",
    "BoxerAPIError",
    "BoxerCapacityError",
    "BoxerClient",
    "BoxerConnectionError",
    "BoxerError",
    "BoxerOutputLimitError",
    "BoxerProtocolError",
    "BoxerTimeoutError",
    "OutputFile",
    "ResourceLimits",
    "RunEnded",
    "RunEvent",
    "RunResult",
    "RunStarted",
    "RunStream",
    "RunText",
    "__version__",
]

"""Client of the Boxer HTTP host: run commands from OCI images in gVisor sandboxes."""

from ._async_client import AsyncBoxerClient, AsyncRunStream
from ._async_connection import AsyncConnection
from ._async_session import AsyncProcess, AsyncProcessEvents, AsyncSession
from ._async_session_files import AsyncFileStream, AsyncFileWatch, AsyncSessionFiles
from ._client import BoxerClient, RunStream
from ._connection import Connection
from ._errors import (
    BoxerAPIError,
    BoxerCapacityError,
    BoxerConnectionError,
    BoxerError,
    BoxerNotFoundError,
    BoxerOutputLimitError,
    BoxerProtocolError,
    BoxerSessionEndedError,
    BoxerSessionPausedError,
    BoxerTimeoutError,
)
from ._models import OutputFile, ResourceLimits, RunEnded, RunEvent, RunResult, RunStarted, RunText
from ._session import Process, ProcessEvents, Session
from ._session_files import FileStream, FileWatch, SessionFiles
from ._session_models import FileChange, FileInfo, FileList, ProcessEnded, ProcessEvent, ProcessInfo, ProcessOutput, SessionInfo
from ._version import __version__

__all__ = [
    "AsyncBoxerClient",
    "AsyncConnection",
    "AsyncFileStream",
    "AsyncFileWatch",
    "AsyncProcess",
    "AsyncProcessEvents",
    "AsyncRunStream",
    "AsyncSession",
    "AsyncSessionFiles",
    "BoxerAPIError",
    "BoxerCapacityError",
    "BoxerClient",
    "BoxerConnectionError",
    "BoxerError",
    "BoxerNotFoundError",
    "BoxerOutputLimitError",
    "BoxerProtocolError",
    "BoxerSessionEndedError",
    "BoxerSessionPausedError",
    "BoxerTimeoutError",
    "Connection",
    "FileChange",
    "FileInfo",
    "FileList",
    "FileStream",
    "FileWatch",
    "OutputFile",
    "Process",
    "ProcessEnded",
    "ProcessEvent",
    "ProcessEvents",
    "ProcessInfo",
    "ProcessOutput",
    "ResourceLimits",
    "RunEnded",
    "RunEvent",
    "RunResult",
    "RunStarted",
    "RunStream",
    "RunText",
    "Session",
    "SessionFiles",
    "SessionInfo",
    "__version__",
]

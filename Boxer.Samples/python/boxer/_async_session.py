from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, AsyncGenerator, Generator, List, Optional, Type, Union

import httpx

from . import _session_wire, _websocket, _wire
from ._async_connection import AsyncConnection
from ._async_session_files import AsyncSessionFiles
from ._errors import BoxerConnectionError, BoxerNotFoundError, BoxerSessionEndedError
from ._iteration import AsyncStream
from ._models import RunResult
from ._session_models import ProcessEnded, ProcessEvent, ProcessInfo, SessionInfo

if TYPE_CHECKING:
    from ._async_client import AsyncBoxerClient, AsyncRunStream


class AsyncSession:
    """The asynchronous version of :class:`Session`, with the same methods. Tasks can share it."""

    info: SessionInfo
    """The session, as the host described it last."""

    files: AsyncSessionFiles
    """The files of the session."""

    def __init__(self, client: AsyncBoxerClient, info: SessionInfo) -> None:
        self._client = client
        self._paths = _session_wire.SessionPaths(client._settings, info.id)
        self.info = info
        self.files = AsyncSessionFiles(client, self._paths)

    @property
    def id(self) -> str:
        """Identifier of the session, for :meth:`BoxerClient.session_by_id`."""
        return self.info.id

    @_wire.with_arguments_of(_session_wire.exec_body)
    async def run(self, *args: Any, **kwargs: Any) -> RunResult:
        """Runs a command in the session and waits for its end; see :meth:`Session.run`. Cancelling the task ends the command."""
        return _wire.run_result(await self._client._send(self._paths.run("exec", _session_wire.exec_body(*args, **kwargs))))

    @_wire.with_arguments_of(_session_wire.exec_body)
    def stream(self, *args: Any, **kwargs: Any) -> AsyncRunStream:
        """Runs a command in the session and streams its output; see :meth:`Session.stream`. Use ``async with`` if a loop over it may end early."""
        return self._client._stream(self._paths.run("exec/stream", _session_wire.exec_body(*args, **kwargs)))

    @_wire.with_arguments_of(_session_wire.process_body)
    async def start(self, *args: Any, **kwargs: Any) -> AsyncProcess:
        """Starts a process and returns at once; see :meth:`Session.start`."""
        arguments = _session_wire.process_body(*args, **kwargs)
        info = _session_wire.process_info(await self._client._send(self._paths.start(arguments)))
        return AsyncProcess(self._client, self._paths, info)

    async def processes(self) -> List[AsyncProcess]:
        """Returns the processes that :meth:`start` started: living ones, and ended ones for some minutes."""
        infos = _session_wire.process_infos(await self._client._send(self._paths.processes()))
        return [AsyncProcess(self._client, self._paths, info) for info in infos]

    async def process(self, pid: int) -> AsyncProcess:
        """Returns a process that :meth:`start` started; raises :class:`BoxerNotFoundError` if there is none."""
        process = AsyncProcess(self._client, self._paths, ProcessInfo(pid))
        await process.refresh()
        return process

    async def connect(self, port: int, *, resume: bool = False) -> AsyncConnection:
        """Connects to a port that a process of the session listens on; see :meth:`Session.connect`."""
        return await AsyncConnection.open(_websocket.Handshake(self._paths.port(port).resuming(resume), self._client._http, self._client._settings))

    async def pause(self) -> None:
        """Stops all processes and clocks of the session until :meth:`resume`, or a call with ``resume=True``; see :meth:`Session.pause`."""
        _wire.check_status(await self._client._send(self._paths.pause()))

    async def resume(self) -> None:
        """Continues a paused session."""
        _wire.check_status(await self._client._send(self._paths.resume()))

    async def extend(self, idle_timeout: Optional[float] = None, lifetime: Optional[float] = None) -> SessionInfo:
        """Changes when the session ends; see :meth:`Session.extend`."""
        self.info = _session_wire.session_info(await self._client._send(self._paths.extend(idle_timeout, lifetime)))
        return self.info

    async def refresh(self) -> SessionInfo:
        """Asks the host for the state of the session. This is no call that keeps the session from being idle."""
        self.info = _session_wire.session_info(await self._client._send(self._paths.get()))
        return self.info

    async def close(self) -> None:
        """Ends the session and everything that runs in it. A session that has ended is left as it is."""
        try:
            _wire.check_status(await self._client._send(self._paths.close()))
        except (BoxerSessionEndedError, BoxerNotFoundError):
            pass

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncSession({self.id!r})"


class AsyncSessionOpening:
    """A session that is opened by ``await``, or by ``async with``, which closes it at the end."""

    def __init__(self, client: AsyncBoxerClient, call: _wire.Call) -> None:
        self._client = client
        self._call = call
        self._session: Optional[AsyncSession] = None

    def __await__(self) -> Generator[Any, None, AsyncSession]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncSession:
        self._session = await self._open()
        return self._session

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> AsyncSession:
        return AsyncSession(self._client, _session_wire.session_info(await self._client._send(self._call)))


class AsyncProcess:
    """The asynchronous version of :class:`Process`."""

    info: ProcessInfo
    """The process, as the host described it last."""

    def __init__(self, client: AsyncBoxerClient, session: _session_wire.SessionPaths, info: ProcessInfo) -> None:
        self._client = client
        self._paths = _session_wire.ProcessPaths(session, info.pid)
        self.info = info

    @property
    def pid(self) -> int:
        """Identifier of the process in its session."""
        return self.info.pid

    async def write(self, data: Union[str, bytes, bytearray, memoryview], *, resume: bool = False) -> None:
        """Writes to the standard input or the terminal; see :meth:`Process.write`."""
        content = _session_wire.ProcessInput(self._paths, data, resume)
        for call in content:
            content.accept(await self._client._send(call))

    async def close_stdin(self, *, resume: bool = False) -> None:
        """Closes the standard input, so that the process reads the end of file."""
        _wire.check_status(await self._client._send(self._paths.close_stdin().resuming(resume)))

    def events(self, from_offset: int = 0, *, resume: bool = False) -> AsyncProcessEvents:
        """Returns the output of the process, as it is written, and its end; see :meth:`Process.events`. Use ``async with`` if a loop over it may end early."""
        return AsyncProcessEvents(self._client._http, _session_wire.Attachment(self._paths, from_offset, resume))

    async def signal(self, number: int, *, resume: bool = False) -> None:
        """Sends a signal to the process and its group."""
        _wire.check_status(await self._client._send(self._paths.signal(number).resuming(resume)))

    async def resize(self, columns: int, rows: int, *, resume: bool = False) -> None:
        """Changes the size of the terminal."""
        _wire.check_status(await self._client._send(self._paths.resize(columns, rows).resuming(resume)))

    async def wait(self, *, resume: bool = False) -> ProcessEnded:
        """Waits for the end of the process. Its output stays available to :meth:`events`."""
        async with self.events(resume=resume) as events:
            async for event in events:
                if isinstance(event, ProcessEnded):
                    return event
        raise _session_wire.cut_off()

    async def kill(self, *, resume: bool = False) -> None:
        """Kills the process and the processes that it started; see :meth:`Process.kill`."""
        try:
            _wire.check_status(await self._client._send(self._paths.kill().resuming(resume)))
        except (BoxerSessionEndedError, BoxerNotFoundError):
            pass

    async def refresh(self) -> ProcessInfo:
        """Asks the host for the state of the process."""
        self.info = _session_wire.process_info(await self._client._send(self._paths.get()))
        return self.info

    def __aiter__(self) -> AsyncProcessEvents:
        return self.events()

    async def __aenter__(self) -> AsyncProcess:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        await self.kill()

    def __repr__(self) -> str:
        return f"AsyncProcess({self.pid})"


class AsyncProcessEvents(AsyncStream[ProcessEvent]):
    """The events of one process: an iterator, and a context manager that closes it. Closing it does not end the process."""

    ended: Optional[ProcessEnded]
    """The end of the process, once it was read."""

    def __init__(self, http: httpx.AsyncClient, attachment: _session_wire.Attachment) -> None:
        self.ended = None
        super().__init__(self._read(http, attachment))

    async def _read(self, http: httpx.AsyncClient, attachment: _session_wire.Attachment) -> AsyncGenerator[ProcessEvent, None]:
        while self.ended is None:
            try:
                attached = self._attach(http, attachment)
                try:
                    async for event in attached:
                        yield event
                finally:
                    await attached.aclose()
            except BoxerConnectionError as error:
                await asyncio.sleep(attachment.lost(error))

    async def _attach(self, http: httpx.AsyncClient, attachment: _session_wire.Attachment) -> AsyncGenerator[ProcessEvent, None]:
        async with _wire.async_answer(http, attachment.call()) as response:
            attachment.accept(response)
            async for chunk in response.aiter_bytes():
                for event in attachment.feed(chunk):
                    self.ended = attachment.ended
                    yield event
                    if self.ended is not None:
                        return
        raise _session_wire.cut_off()

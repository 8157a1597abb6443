from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generator, List, Optional, Type, Union

import httpx

from . import _session_wire, _websocket, _wire
from ._connection import Connection
from ._errors import BoxerConnectionError, BoxerNotFoundError, BoxerSessionEndedError
from ._iteration import Stream
from ._models import RunResult
from ._session_files import SessionFiles
from ._session_models import ProcessEnded, ProcessEvent, ProcessInfo, SessionInfo

if TYPE_CHECKING:
    from ._client import BoxerClient, RunStream


class Session:
    """
    A sandbox that is kept: commands, processes and files share it until it ends. Threads can share it.

    As a context manager it closes the session. A session that is not closed ends by its idle timeout or lifetime.
    Every method but :meth:`close` raises :class:`BoxerSessionEndedError` once the session has ended. Commands, processes, files and connections raise
    :class:`BoxerSessionPausedError` while it is paused, unless ``resume=True`` resumes it first.
    """

    info: SessionInfo
    """The session, as the host described it last."""

    files: SessionFiles
    """The files of the session."""

    def __init__(self, client: BoxerClient, info: SessionInfo) -> None:
        self._client = client
        self._paths = _session_wire.SessionPaths(client._settings, info.id)
        self.info = info
        self.files = SessionFiles(client, self._paths)

    @property
    def id(self) -> str:
        """Identifier of the session, for :meth:`BoxerClient.session_by_id`."""
        return self.info.id

    @_wire.with_arguments_of(_session_wire.exec_body)
    def run(self, *args: Any, **kwargs: Any) -> RunResult:
        """
        Runs a command in the session and waits for its end.

        cmd: the program and its arguments.
        env: environment variables of this command only, as a mapping or as ``["NAME=value"]``.
        cwd: absolute path of the working directory; default the session's.
        limits: ``wall_clock_secs``, ``cpu_time_secs``, ``nofile`` and ``pids_limit``; default the session's.
        stdin: text or bytes for the command's standard input; default empty.
        user: a user name or uid, optionally with ``:group``; default the session's.
        merge_stderr: whether standard error is written to standard output, in order; default false.
        stop_grace_ms: milliseconds that the command has to end after it was asked to; default 0.
        resume: whether to resume a session that is paused; default false.

        The result and the errors are those of :meth:`BoxerClient.run`. Processes that the command leaves behind stay in the
        session; ``result.left_behind`` is their number.
        """
        return _wire.run_result(self._client._send(self._paths.run("exec", _session_wire.exec_body(*args, **kwargs))))

    @_wire.with_arguments_of(_session_wire.exec_body)
    def stream(self, *args: Any, **kwargs: Any) -> RunStream:
        """
        Runs a command in the session and streams its output. Arguments and errors are the same as for :meth:`run`.

        Iterating sends the request. Closing the stream early ends the command.
        """
        return self._client._stream(self._paths.run("exec/stream", _session_wire.exec_body(*args, **kwargs)))

    @_wire.with_arguments_of(_session_wire.process_body)
    def start(self, *args: Any, **kwargs: Any) -> Process:
        """
        Starts a process and returns at once. The process lives until it ends, is killed, or the session ends.

        cmd, env, cwd, user, merge_stderr, resume: see :meth:`run`.
        limits: as for :meth:`run`; by default the process has no limits of time.
        terminal: size of a terminal as ``(columns, rows)``; default no terminal.
        """
        arguments = _session_wire.process_body(*args, **kwargs)
        info = _session_wire.process_info(self._client._send(self._paths.start(arguments)))
        return Process(self._client, self._paths, info)

    def processes(self) -> List[Process]:
        """Returns the processes that :meth:`start` started: living ones, and ended ones for some minutes."""
        infos = _session_wire.process_infos(self._client._send(self._paths.processes()))
        return [Process(self._client, self._paths, info) for info in infos]

    def process(self, pid: int) -> Process:
        """Returns a process that :meth:`start` started; raises :class:`BoxerNotFoundError` if there is none."""
        process = Process(self._client, self._paths, ProcessInfo(pid))
        process.refresh()
        return process

    def connect(self, port: int, *, resume: bool = False) -> Connection:
        """
        Connects to a port that a process of the session listens on. Nothing is opened on the host.

        The host disconnects a client that neither sends nor reads anything for 10 minutes: :meth:`Connection.recv` answers its pings. After
        ``close_write`` it disconnects one that receives nothing for 10 minutes.

        The connection to the host is a new one: it does not use the client's ``transport`` or a proxy, and an https host needs a
        certificate that Python trusts (``SSL_CERT_FILE`` names more of them).
        """
        return Connection(_websocket.Handshake(self._paths.port(port).resuming(resume), self._client._http, self._client._settings))

    def pause(self) -> None:
        """
        Stops all processes and clocks of the session until :meth:`resume`, or a call with ``resume=True``. Waits for the calls in progress,
        however long they take.
        """
        _wire.check_status(self._client._send(self._paths.pause()))

    def resume(self) -> None:
        """Continues a paused session."""
        _wire.check_status(self._client._send(self._paths.resume()))

    def extend(self, idle_timeout: Optional[float] = None, lifetime: Optional[float] = None) -> SessionInfo:
        """
        Changes when the session ends.

        idle_timeout: seconds after the end of the last call; default unchanged.
        lifetime: seconds since the session was opened, without paused time; default unchanged.
        """
        self.info = _session_wire.session_info(self._client._send(self._paths.extend(idle_timeout, lifetime)))
        return self.info

    def refresh(self) -> SessionInfo:
        """Asks the host for the state of the session. This is no call that keeps the session from being idle."""
        self.info = _session_wire.session_info(self._client._send(self._paths.get()))
        return self.info

    def close(self) -> None:
        """Ends the session and everything that runs in it. A session that has ended is left as it is."""
        try:
            _wire.check_status(self._client._send(self._paths.close()))
        except (BoxerSessionEndedError, BoxerNotFoundError):
            pass

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session({self.id!r})"


class Process:
    """
    A process that was started in a session. Iterating yields its events, from the first one that the host still has.

    As a context manager it kills the process. ``resume=True`` resumes a session that is paused.
    """

    info: ProcessInfo
    """The process, as the host described it last."""

    def __init__(self, client: BoxerClient, session: _session_wire.SessionPaths, info: ProcessInfo) -> None:
        self._client = client
        self._paths = _session_wire.ProcessPaths(session, info.pid)
        self.info = info

    @property
    def pid(self) -> int:
        """Identifier of the process in its session."""
        return self.info.pid

    def write(self, data: Union[str, bytes, bytearray, memoryview], *, resume: bool = False) -> None:
        """
        Writes bytes, or text as UTF-8, to the standard input or the terminal. Waits until the host has passed them on. If the process
        takes less than 32 KiB in a minute and the host can pass nothing on, raises :class:`BoxerAPIError` with status 409, and if the session is
        paused meanwhile :class:`BoxerSessionPausedError`; ``error.raw["written"]`` is the number of bytes that were written.
        """
        content = _session_wire.ProcessInput(self._paths, data, resume)
        for call in content:
            content.accept(self._client._send(call))

    def close_stdin(self, *, resume: bool = False) -> None:
        """Closes the standard input, so that the process reads the end of file."""
        _wire.check_status(self._client._send(self._paths.close_stdin().resuming(resume)))

    def events(self, from_offset: int = 0, *, resume: bool = False) -> ProcessEvents:
        """
        Returns the output of the process, as it is written, and its end.

        from_offset: number of bytes to skip, for example ``event.offset + len(event.data)`` of the last event read.

        If the connection breaks, the client attaches again at the next byte.
        """
        return ProcessEvents(self._client._http, _session_wire.Attachment(self._paths, from_offset, resume))

    def signal(self, number: int, *, resume: bool = False) -> None:
        """Sends a signal to the process and its group."""
        _wire.check_status(self._client._send(self._paths.signal(number).resuming(resume)))

    def resize(self, columns: int, rows: int, *, resume: bool = False) -> None:
        """Changes the size of the terminal."""
        _wire.check_status(self._client._send(self._paths.resize(columns, rows).resuming(resume)))

    def wait(self, *, resume: bool = False) -> ProcessEnded:
        """Waits for the end of the process. Its output stays available to :meth:`events`."""
        with self.events(resume=resume) as events:
            for event in events:
                if isinstance(event, ProcessEnded):
                    return event
        raise _session_wire.cut_off()

    def kill(self, *, resume: bool = False) -> None:
        """Kills the process and the processes that it started. One that has ended is left as it is. Raises in a paused session, unless it has ``resume=True``."""
        try:
            _wire.check_status(self._client._send(self._paths.kill().resuming(resume)))
        except (BoxerSessionEndedError, BoxerNotFoundError):
            pass

    def refresh(self) -> ProcessInfo:
        """Asks the host for the state of the process."""
        self.info = _session_wire.process_info(self._client._send(self._paths.get()))
        return self.info

    def __iter__(self) -> ProcessEvents:
        return self.events()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self.kill()

    def __repr__(self) -> str:
        return f"Process({self.pid})"


class ProcessEvents(Stream[ProcessEvent]):
    """The events of one process: an iterator, and a context manager that closes it. Closing it does not end the process."""

    ended: Optional[ProcessEnded]
    """The end of the process, once it was read."""

    def __init__(self, http: httpx.Client, attachment: _session_wire.Attachment) -> None:
        self.ended = None
        super().__init__(self._read(http, attachment))

    def _read(self, http: httpx.Client, attachment: _session_wire.Attachment) -> Generator[ProcessEvent, None, None]:
        while self.ended is None:
            try:
                yield from self._attach(http, attachment)
            except BoxerConnectionError as error:
                time.sleep(attachment.lost(error))

    def _attach(self, http: httpx.Client, attachment: _session_wire.Attachment) -> Generator[ProcessEvent, None, None]:
        with _wire.answer(http, attachment.call()) as response:
            attachment.accept(response)
            for chunk in response.iter_bytes():
                for event in attachment.feed(chunk):
                    self.ended = attachment.ended
                    yield event
                    if self.ended is not None:
                        return
        raise _session_wire.cut_off()

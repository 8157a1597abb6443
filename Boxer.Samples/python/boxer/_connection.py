from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Optional, Type, Union

from . import _websocket, _wire
from ._errors import BoxerConnectionError


class Connection:
    """A connection to a port of a session: a stream of bytes in both directions. One thread may send while another receives."""

    def __init__(self, handshake: _websocket.Handshake) -> None:
        self._frames = _websocket.Frames()
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        host, port, tls = handshake.address()
        with _wire.socket_errors(handshake.request):
            self._socket = socket.create_connection((host, port), _wire.CONNECT)
            try:
                if tls is not None:
                    self._socket = tls.wrap_socket(self._socket, server_hostname=host)
                self._socket.settimeout(_wire.READ)
                self._socket.sendall(handshake.sent())
                while (rest := handshake.feed(self._socket.recv(_websocket.READ))) is None:
                    pass
                self._socket.settimeout(None)
            except BaseException:
                self._socket.close()
                raise
        if rest:
            self._frames.feed(rest)
            self._reply()

    def send(self, data: Union[bytes, bytearray, memoryview]) -> None:
        """Sends all bytes."""
        for frame in self._frames.messages(data):
            self._write(frame)

    def close_write(self) -> None:
        """Tells the other side that no more bytes follow. What it still sends can be received."""
        self._write(self._frames.close())

    def recv(self, size: int = 65536) -> bytes:
        """Returns the next bytes, at least one and at most ``size``; none once the other side has closed the connection."""
        with self._receiving:
            while not self._frames.received and not self._frames.ended:
                self._read()
            return self._frames.take(size)

    def close(self) -> None:
        """Closes the connection. Bytes that were sent arrive; bytes that were not received are dropped."""
        if self._socket.fileno() < 0:
            return
        try:
            self._write(self._frames.close())
            self._drain(time.monotonic() + _websocket.CLOSE)
        except BoxerConnectionError:
            pass
        finally:
            with contextlib.suppress(OSError):
                # Wakes a thread that still receives, which closing alone does not.
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self.close()

    def _drain(self, deadline: float) -> None:
        # Closing a socket with unread data would reset the connection and lose what was sent.
        if not self._receiving.acquire(timeout=_websocket.CLOSE):
            return
        try:
            while not self._frames.ended and (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                self._read()
                self._frames.received.clear()
        finally:
            self._receiving.release()

    def _read(self) -> None:
        with _wire.socket_errors():
            self._frames.feed(self._socket.recv(_websocket.READ))
        self._reply()

    def _reply(self) -> None:
        # The host may be gone once it has closed the connection; what it sent before is still to be read.
        with contextlib.suppress(BoxerConnectionError):
            self._write(self._frames.take_reply())

    def _write(self, data: bytes) -> None:
        if data:
            with self._sending, _wire.socket_errors():
                self._socket.sendall(data)

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Optional, Type, Union

from . import _websocket, _wire
from ._errors import BoxerConnectionError


class AsyncConnection:
    """The asynchronous version of :class:`Connection`. One task may send while another receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._frames = _websocket.Frames()
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._receiving = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, handshake: _websocket.Handshake) -> AsyncConnection:
        """Connects; :meth:`AsyncSession.connect` calls it."""
        host, port, tls = handshake.address()
        with _wire.socket_errors(handshake.request):
            opened = asyncio.open_connection(host, port, ssl=tls)
            connection = cls(*await asyncio.wait_for(opened, _wire.CONNECT))
            try:
                await asyncio.wait_for(connection._shake(handshake), _wire.READ)
            except BaseException:
                connection._writer.close()
                raise
        return connection

    async def send(self, data: Union[bytes, bytearray, memoryview]) -> None:
        """Sends all bytes."""
        for frame in self._frames.messages(data):
            await self._write(frame)

    async def close_write(self) -> None:
        """Tells the other side that no more bytes follow. What it still sends can be received."""
        await self._write(self._frames.close())

    async def recv(self, size: int = 65536) -> bytes:
        """Returns the next bytes, at least one and at most ``size``; none once the other side has closed the connection."""
        async with self._receiving:
            while not self._frames.received and not self._frames.ended:
                await self._read()
            return self._frames.take(size)

    async def close(self) -> None:
        """Closes the connection. Bytes that were sent arrive; bytes that were not received are dropped."""
        if self._closed:
            return
        self._closed = True
        try:
            # Closing a socket with unread data would reset the connection and lose what was sent.
            await asyncio.wait_for(self._end(), _websocket.CLOSE)
        except (BoxerConnectionError, asyncio.TimeoutError):
            pass
        finally:
            self._writer.close()

    async def __aenter__(self) -> AsyncConnection:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        await self.close()

    async def _shake(self, handshake: _websocket.Handshake) -> None:
        await self._write(handshake.sent())
        while (rest := handshake.feed(await self._reader.read(_websocket.READ))) is None:
            pass
        if rest:
            self._frames.feed(rest)
            await self._reply()

    async def _end(self) -> None:
        await self._write(self._frames.close())
        async with self._receiving:
            while not self._frames.ended:
                await self._read()
                self._frames.received.clear()

    async def _read(self) -> None:
        with _wire.socket_errors():
            self._frames.feed(await self._reader.read(_websocket.READ))
        await self._reply()

    async def _reply(self) -> None:
        # The host may be gone once it has closed the connection; what it sent before is still to be read.
        with contextlib.suppress(BoxerConnectionError):
            await self._write(self._frames.take_reply())

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            with _wire.socket_errors():
                self._writer.write(data)
                await self._writer.drain()

"""Connections to ports of a session, against a WebSocket server of a few lines."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import inspect
import os
import socket
import struct
import threading
from typing import Any, Awaitable, Callable, List, Optional, Tuple

import pytest

from boxer import AsyncBoxerClient, BoxerClient, BoxerConnectionError, BoxerProtocolError, BoxerSessionEndedError, SessionInfo
from boxer._async_session import AsyncSession
from boxer._session import Session
from both import both

INFO = SessionInfo("a1b2c3d4e5f6g7h8i9j0", "running")
BIG = os.urandom(300_000)


def frame(opcode: int, payload: bytes, final: bool = True, masked: bool = False, length: Optional[int] = None) -> bytes:
    """A frame of the server, which must not be masked."""
    size = len(payload) if length is None else length
    first, mask = (0x80 if final else 0) | opcode, 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, mask | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + payload


class Server:
    """Serves one connection with a function of the test, on a thread of its own."""

    def __init__(self, serve: Callable[[Server], None], accept: bool = True) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.head = b""
        self.failure: Optional[BaseException] = None
        self._serve = serve
        self._accept = accept
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert self.failure is None, self.failure

    def _run(self) -> None:
        try:
            self.socket, _ = self._listener.accept()
            with self.socket:
                self.socket.settimeout(20)
                while not self.head.endswith(b"\r\n\r\n"):
                    self.head += self.socket.recv(1)
                self._serve(self)
        except BaseException as error:
            self.failure = error

    def upgrade(self, then: bytes = b"") -> None:
        """Accepts the WebSocket, and sends these bytes in the same segment."""
        key = next(line.split(b": ")[1] for line in self.head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n" + then
        )

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            assert chunk, "the client has closed the connection"
            data += chunk
        return data

    def receive(self) -> Tuple[int, bytes]:
        """Reads one frame of the client, which must be masked."""
        first, second = self.exactly(2)
        assert first & 0xF0 == 0x80 and second & 0x80
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self.exactly(2 if size == 126 else 8), "big")
        mask = self.exactly(4)
        payload = self.exactly(size)
        return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


async def await_if(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def connect(kind: str, server: Server, use: Callable[[Any], Awaitable[None]], **settings: Any) -> None:
    """Connects to a port with either client and calls ``use``."""

    async def main() -> None:
        if kind == "sync":
            with BoxerClient(server.url, **settings) as client, Session(client, INFO).connect(8000) as connection:
                await use(connection)
            return
        async with AsyncBoxerClient(server.url, **settings) as asynchronous:
            async with await AsyncSession(asynchronous, INFO).connect(8000) as other:
                await use(other)

    with server:
        asyncio.run(main())


async def everything(connection: Any) -> bytes:
    data = b""
    while chunk := await await_if(connection.recv()):
        data += chunk
    return data


@both
def test_bytes_in_both_directions(kind: str) -> None:
    frames: List[Tuple[int, bytes]] = []

    def serve(server: Server) -> None:
        server.upgrade(frame(2, b"hel") + frame(9, b"ping") + frame(2, b"lo", final=False))
        server.socket.sendall(frame(0, b" world") + frame(10, b"unasked"))
        while not frames or frames[-1][0] != 8:
            frames.append(server.receive())
        server.socket.sendall(frame(2, BIG) + frame(8, b"\x03\xe8"))

    async def use(connection: Any) -> None:
        seen = b""
        while len(seen) < 11:
            seen += await await_if(connection.recv(4))
        assert seen == b"hello world"
        await await_if(connection.send(b"x" * 100))
        await await_if(connection.send(memoryview(BIG)))
        await await_if(connection.send(b""))
        await await_if(connection.close_write())
        with pytest.raises(BoxerConnectionError, match="closed for sending"):
            await await_if(connection.send(b"more"))
        assert await everything(connection) == BIG
        assert await await_if(connection.recv()) == b""

    server = Server(serve)
    connect(kind, server, use, api_key="sesame")
    assert frames[0] == (10, b"ping")
    assert b"".join(payload for opcode, payload in frames if opcode == 2) == b"x" * 100 + BIG
    assert frames[-1] == (8, b"\x03\xe8")
    head = server.head.decode().lower()
    assert head.startswith("get /sessions/a1b2c3d4e5f6g7h8i9j0/ports/8000 http/1.1\r\n")
    assert "authorization: bearer sesame\r\n" in head and "upgrade: websocket\r\n" in head and f"host: {server.url[7:]}\r\n" in head


@both
def test_what_was_sent_arrives_before_the_connection_is_closed(kind: str) -> None:
    received = bytearray()

    def serve(server: Server) -> None:
        server.upgrade(frame(2, BIG))
        while (item := server.receive())[0] != 8:
            received.extend(item[1])
        server.socket.sendall(frame(2, b"too late") + frame(8, item[1]))

    async def use(connection: Any) -> None:
        await await_if(connection.send(BIG))
        await await_if(connection.close())
        await await_if(connection.close())

    connect(kind, Server(serve), use)
    assert bytes(received) == BIG


@both
def test_closing_wakes_a_receiver(kind: str) -> None:
    def serve(server: Server) -> None:
        server.upgrade()
        server.receive()
        server.socket.sendall(frame(8, b"\x03\xe8"))

    async def use(connection: Any) -> None:
        seen: List[bytes] = []
        if kind == "sync":
            thread = threading.Thread(target=lambda: seen.append(connection.recv()))
            thread.start()
            connection.close()
            thread.join(20)
        else:
            task = asyncio.ensure_future(connection.recv())
            await asyncio.sleep(0)
            await connection.close()
            seen.append(await task)
        assert seen == [b""]

    connect(kind, Server(serve), use)


@both
@pytest.mark.parametrize(
    ("wire", "expected", "words"),
    [
        (b"", BoxerConnectionError, "without a close frame"),
        (frame(8, b"\x03\xf3broken"), BoxerConnectionError, "status 1011: broken"),
        (frame(8, b"\x11\x3alifetime"), BoxerSessionEndedError, "lifetime"),
        (frame(2, b"a", masked=True), BoxerProtocolError, "an invalid frame"),
        (frame(0x72, b"a"), BoxerProtocolError, "an invalid frame"),
        (frame(9, b"a" * 126), BoxerProtocolError, "an invalid frame"),
        (frame(9, b"a", final=False), BoxerProtocolError, "an invalid frame"),
        (frame(1, b"text"), BoxerProtocolError, "an unexpected frame"),
        (frame(0, b"continued"), BoxerProtocolError, "an unexpected frame"),
        (frame(2, b"", length=1 << 40), BoxerProtocolError, "a frame of"),
    ],
)
def test_a_connection_that_fails_after_some_bytes(kind: str, wire: bytes, expected: Any, words: str) -> None:
    def serve(server: Server) -> None:
        server.upgrade(frame(2, b"before") + wire)

    async def use(connection: Any) -> None:
        assert await await_if(connection.recv()) == b"before"
        with pytest.raises(expected, match=words) as caught:
            await await_if(connection.recv())
        if isinstance(caught.value, BoxerSessionEndedError):
            assert caught.value.ended == "lifetime"

    connect(kind, Server(serve), use)


@both
@pytest.mark.parametrize(
    ("answer", "expected", "words"),
    [
        (b"", BoxerConnectionError, "closed the connection"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: wrong\r\n\r\n", BoxerProtocolError, "does not accept"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BoxerProtocolError, "does not open a WebSocket"),
        (b"nonsense\r\n\r\n", BoxerProtocolError, "GET http"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 33\r\n\r\n" b'{"error":"e", "ended":"lifetime"}', BoxerSessionEndedError, "HTTP 410: e"),
        (b"HTTP/1.1 410 Gone\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", BoxerSessionEndedError, "HTTP 410"),
        (b"HTTP/1.1 410 Gone\r\n\r\n{}", BoxerSessionEndedError, "HTTP 410"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 9\r\n\r\n{}", BoxerConnectionError, "closed the connection"),
    ],
)
def test_a_handshake_that_fails(kind: str, answer: bytes, expected: Any, words: str) -> None:
    async def use(connection: Any) -> None:
        raise AssertionError("connected")

    with pytest.raises(expected, match=words):
        connect(kind, Server(lambda server: server.socket.sendall(answer)), use)


@both
def test_a_host_that_cannot_be_reached(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def main() -> None:
        await (AsyncSession(AsyncBoxerClient(url), INFO).connect(1))

    with pytest.raises(BoxerConnectionError, match="GET http"):
        if kind == "sync":
            Session(BoxerClient(url), INFO).connect(1)
        else:
            asyncio.run(main())


@pytest.mark.parametrize("port", [0, -1, 65536, True])
def test_invalid_ports(port: Any) -> None:
    with pytest.raises(ValueError, match="port: "):
        Session(BoxerClient("http://localhost:1"), INFO).connect(port)

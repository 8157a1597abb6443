"""The client's side of a WebSocket (RFC 6455) without a socket: bytes in, bytes out. Shared by both clients."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import struct
from typing import Iterator, Optional, Tuple, Union

import h11
import httpx

from . import _wire
from ._errors import BoxerConnectionError, BoxerProtocolError

# A host sends much smaller frames. Larger ones are not worth the memory.
MAX_FRAME = 1 << 24
# Bytes of one frame of ours.
FRAME = 1 << 16
READ = 1 << 16
# Seconds that closing waits for the host's close frame.
CLOSE = 5.0

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_NORMAL, _PROTOCOL_ERROR, _NO_STATUS, _TOO_BIG = 1000, 1002, 1005, 1009
# A status of the host: the session has ended.
_SESSION_ENDED = 4410


class Handshake:
    """The request that upgrades a connection, and its response."""

    def __init__(self, call: _wire.Call, http: Union[httpx.Client, httpx.AsyncClient], settings: _wire.Settings) -> None:
        request = call.build(http)
        if settings.auth is not None:
            request = next(settings.auth.auth_flow(request))
        self._key = base64.b64encode(os.urandom(16))
        self._connection = h11.Connection(our_role=h11.CLIENT)
        self._response: Optional[h11.Response] = None
        self._body = bytearray()
        self.request = request

    def address(self) -> Tuple[str, int, Optional[ssl.SSLContext]]:
        """Host and port to connect to, and the TLS settings for https."""
        url = self.request.url
        secure = url.scheme == "https"
        return url.host, url.port or (443 if secure else 80), ssl.create_default_context() if secure else None

    def sent(self) -> bytes:
        """The bytes of the request."""
        kept = ("host", "user-agent", "authorization")
        headers = [(name, value) for name, value in self.request.headers.raw if name.lower().decode("ascii") in kept]
        headers += [
            (b"Connection", b"Upgrade"),
            (b"Upgrade", b"websocket"),
            (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Key", self._key),
        ]
        request = h11.Request(method="GET", target=self.request.url.raw_path, headers=headers)
        return (self._connection.send(request) or b"") + (self._connection.send(h11.EndOfMessage()) or b"")

    def feed(self, data: bytes) -> Optional[bytes]:
        """
        Takes bytes of the response, none at the end of the connection. Returns the bytes that follow the response once it is complete,
        and raises if the response is not an upgrade.
        """
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                    self._check(event)
                    return self._connection.trailing_data[0]
                if isinstance(event, h11.Response):
                    self._response = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                    raise self._refused()
        except h11.RemoteProtocolError as error:
            if not data:
                raise BoxerConnectionError(f"{self._where()}: the host closed the connection") from error
            raise BoxerProtocolError(f"{self._where()}: {error}") from error

    def _check(self, event: h11.InformationalResponse) -> None:
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID).digest())
        if dict(event.headers).get(b"sec-websocket-accept") != accept:
            raise BoxerProtocolError(f"{self._where()}: the response does not accept the WebSocket; is this the address of a Boxer host?")

    def _refused(self) -> Exception:
        if self._response is None:
            return BoxerConnectionError(f"{self._where()}: the host closed the connection")
        headers = [(name, value) for name, value in self._response.headers if name != b"content-encoding"]
        response = httpx.Response(self._response.status_code, headers=headers, content=bytes(self._body), request=self.request)
        _wire.check_status(response)
        return BoxerProtocolError(f"{self._where()}: the host does not open a WebSocket; is this the address of a Boxer host?")

    def _where(self) -> str:
        return f"GET {self.request.url.copy_with(query=None)}"


class Frames:
    """The frames after the handshake."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_message = False
        self._closing = False
        self.received = bytearray()
        """Payload that was not taken yet."""
        self.reply = bytearray()
        """Frames to send to the host."""
        self.ended = False
        """Whether nothing follows ``received``."""
        self._failure: Optional[Exception] = None

    def take(self, size: int) -> bytes:
        """Removes bytes from ``received``; raises if there are none because the connection failed."""
        if not self.received and self._failure is not None:
            raise self._failure
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken

    def messages(self, data: Union[bytes, bytearray, memoryview]) -> Iterator[bytes]:
        """Yields the frames that send these bytes."""
        if self._closing or self.ended:
            raise BoxerConnectionError("the connection is closed for sending")
        view = memoryview(data).cast("B")
        for start in range(0, len(view), FRAME):
            yield _frame(_BINARY, bytes(view[start : start + FRAME]))

    def close(self) -> bytes:
        """The close frame; empty if one was sent before."""
        if self._closing:
            return b""
        self._closing = True
        # Nothing may follow a close frame.
        self.reply.clear()
        return _frame(_CLOSE, struct.pack("!H", _NORMAL))

    def take_reply(self) -> bytes:
        """Removes the frames to send."""
        taken = bytes(self.reply)
        self.reply.clear()
        return taken

    def feed(self, data: bytes) -> None:
        """Takes bytes of the host, none at the end of the connection."""
        if not data and not self.ended:
            self._end(BoxerConnectionError("the host closed the connection without a close frame"))
        self._buffer += data
        while not self.ended and self._frame_in_buffer():
            pass

    def _frame_in_buffer(self) -> bool:
        if len(self._buffer) < 2:
            return False
        first, second = self._buffer[0], self._buffer[1]
        opcode, length, start = first & 0x0F, second & 0x7F, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            start = 2 + size
            if len(self._buffer) < start:
                return False
            length = int.from_bytes(self._buffer[2:start], "big")
        if second & 0x80 or first & 0x70 or (opcode >= _CLOSE and (length > 125 or not first & 0x80)):
            self._break(_PROTOCOL_ERROR, "an invalid frame")
            return False
        if length > MAX_FRAME:
            self._break(_TOO_BIG, f"a frame of {length} bytes")
            return False
        if len(self._buffer) < start + length:
            return False
        payload = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        self._take_frame(opcode, bool(first & 0x80), payload)
        return True

    def _take_frame(self, opcode: int, final: bool, payload: bytes) -> None:
        if opcode == _PING:
            if not self._closing:
                self.reply += _frame(_PONG, payload)
        elif opcode == _CLOSE:
            self._take_close(payload)
        elif opcode == (_CONTINUATION if self._in_message else _BINARY):
            self._in_message = not final
            self.received += payload
        elif opcode != _PONG:
            self._break(_PROTOCOL_ERROR, "an unexpected frame")

    def _take_close(self, payload: bytes) -> None:
        code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else _NO_STATUS
        if not self._closing:
            self._closing = True
            self.reply += _frame(_CLOSE, payload[:2])
        self._end(_failure(code, payload[2:].decode("utf-8", "replace")))

    def _break(self, code: int, what: str) -> None:
        if not self._closing:
            self._closing = True
            self.reply += _frame(_CLOSE, struct.pack("!H", code))
        self._end(BoxerProtocolError(f"the host sent {what}"))

    def _end(self, failure: Optional[Exception]) -> None:
        self.ended = True
        self._failure = failure


def _failure(code: int, reason: str) -> Optional[Exception]:
    """The error that a close frame reports."""
    if code in (_NORMAL, _NO_STATUS):
        return None
    if code == _SESSION_ENDED:
        return _wire.api_error(410, f"the session has ended ({reason})", {"ended": reason})
    return BoxerConnectionError(f"the host closed the connection with status {code}" + (f": {reason}" if reason else ""))


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    mask = os.urandom(4)
    # One operation on large integers is much faster than a loop over bytes.
    key = (mask * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
    return head + mask + masked

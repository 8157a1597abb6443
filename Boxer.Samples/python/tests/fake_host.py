"""A host on 127.0.0.1 that returns prepared responses and records requests."""

from __future__ import annotations

import email
import email.policy
import json
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, Tuple, Union


@dataclass
class Answer:
    """A prepared response. Several parts of ``body`` are sent as separate chunks."""

    status: int
    body: Union[bytes, List[bytes]]
    headers: Dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay: float = 0.0
    abort: bool = False


@dataclass
class Request:
    method: str
    path: str
    query: Dict[str, List[str]]
    headers: Dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeHost:
    """A host that starts on entry and stops on exit."""

    def __init__(self) -> None:
        self.answers: Dict[Tuple[str, str], Answer] = {}
        self.queues: Dict[Tuple[str, str], List[Answer]] = {}
        self.requests: List[Request] = []
        self.files: Dict[str, bytes] = {}
        self.client_left = threading.Event()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host.serve(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            # Tests open more connections at once than the default backlog of 5.
            request_queue_size = 256
            def handle_error(self, request: Any, client_address: Any) -> None:
                # Some tests close their connection early.
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeHost:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def json(self, method: str, path: str, status: int, body: Any, **headers: str) -> None:
        """Prepares a JSON response."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[method, path] = Answer(
            status, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8", **named}
        )

    def events(self, *parts: bytes, **options: Any) -> None:
        """Prepares a stream of events that is sent in these parts."""
        headers = {"Content-Type": "text/event-stream"}
        self.answers["POST", "/run/stream"] = Answer(200, list(parts), headers, **options)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        url = urllib.parse.urlsplit(handler.path)
        body = read_body(handler)
        query = urllib.parse.parse_qs(url.query)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.command, url.path, query, headers, body)
        self.requests.append(request)
        # Answers in a queue come first, one for each request.
        queue = self.queues.get((request.method, request.path))
        answer = queue.pop(0) if queue else self.answers.get((request.method, request.path)) or self._contract(request)
        time.sleep(answer.delay)
        try:
            self._send(handler, answer)
        except (BrokenPipeError, ConnectionResetError):
            self.client_left.set()
            handler.close_connection = True

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if isinstance(answer.body, bytes):
            handler.send_header("Content-Length", str(len(answer.body)))
            handler.end_headers()
            handler.wfile.write(answer.body)
            return
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in answer.body:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if answer.abort:
            handler.close_connection = True
        else:
            handler.wfile.write(b"0\r\n\r\n")

    def _contract(self, request: Request) -> Answer:
        if (request.method, request.path) == ("GET", "/healthz"):
            return Answer(200, b'{"ok":true}')
        if (request.method, request.path) == ("POST", "/files"):
            parts = multipart(request)
            path = parts["path"].decode()
            self.files[path] = parts["file"]
            return Answer(200, json.dumps({"path": path}).encode())
        if (request.method, request.path) == ("GET", "/files"):
            content = self.files.get(request.query["path"][0])
            if content is None:
                return Answer(404, b'{"error":"no such file"}')
            return Answer(200, content, {"Content-Type": "application/octet-stream"})
        return Answer(404, b'{"error":"no such address"}')


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def multipart(request: Request) -> Dict[str, bytes]:
    """Parses the fields of a multipart request with the standard library."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, _class=EmailMessage, policy=email.policy.HTTP)
    assert isinstance(message, EmailMessage)
    fields: Dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="Content-Disposition")
        content = part.get_payload(decode=True)
        assert isinstance(name, str) and name not in fields and isinstance(content, bytes)
        fields[name] = content
    return fields

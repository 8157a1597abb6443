from __future__ import annotations

import io
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from boxer import BoxerConnectionError, BoxerError
from both import both, call
from fake_host import Answer, FakeHost

BINARY = bytes(range(256)) * 3 + b"\r\n--\r\n\r\n"


@both
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", b""),
        (BINARY, BINARY),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ("h\u00e9llo\n", "h\u00e9llo\n".encode()),
        (io.BytesIO(BINARY), BINARY),
    ],
)
def test_upload_and_download(kind: str, host: FakeHost, content: Any, expected: bytes) -> None:
    if isinstance(content, io.BytesIO):
        content = io.BytesIO(content.getvalue())
    path = 'job/d\u00efr "x"/ma in.py'

    assert call(kind, host.url, "upload_file", path, content) == path
    assert host.last.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert host.files == {path: expected}

    assert call(kind, host.url, "download_file", path) == expected
    assert host.last.query == {"path": [path]}


@both
def test_upload_of_a_pipe(kind: str, host: FakeHost) -> None:
    read, write = os.pipe()
    with open(write, "wb") as sender:
        sender.write(BINARY)
    with open(read, "rb") as receiver:
        call(kind, host.url, "upload_file", "a", receiver)
    assert host.files == {"a": BINARY}


@both
def test_upload_of_a_local_file(kind: str, host: FakeHost, tmp_path: Path) -> None:
    local = tmp_path / "local.bin"
    local.write_bytes(os.urandom(300_000))

    assert call(kind, host.url, "upload_path", local, "job/remote.bin") == "job/remote.bin"
    assert call(kind, host.url, "upload_path", str(local), "again") == "again"

    assert host.files == {"job/remote.bin": local.read_bytes(), "again": local.read_bytes()}
    with pytest.raises(FileNotFoundError):
        call(kind, host.url, "upload_path", tmp_path / "missing", "a")


@both
def test_upload_of_a_text_file_object_is_a_type_error(kind: str, host: FakeHost) -> None:
    with pytest.raises(TypeError):
        call(kind, host.url, "upload_file", "a", io.StringIO("text"))
    assert host.requests == []


@both
def test_max_bytes_is_checked_during_the_download(kind: str, host: FakeHost) -> None:
    host.files["a"] = b"12345"
    assert call(kind, host.url, "download_file", "a", max_bytes=5) == b"12345"
    with pytest.raises(BoxerError, match=r"larger than max_bytes \(4\)"):
        call(kind, host.url, "download_file", "a", max_bytes=4)

    host.answers["GET", "/files"] = Answer(200, [b"x" * 65536] * 1000)
    with pytest.raises(BoxerError, match="max_bytes"):
        call(kind, host.url, "download_file", "a", max_bytes=100_000)
    assert host.client_left.wait(10)


@both
def test_a_download_that_is_cut_short(kind: str, host: FakeHost) -> None:
    host.answers["GET", "/files"] = Answer(200, [b"half"], abort=True)
    with pytest.raises(BoxerError):
        call(kind, host.url, "download_file", "a")


@both
def test_an_upload_response_without_a_path(kind: str, host: FakeHost) -> None:
    host.json("POST", "/files", 200, {})
    with pytest.raises(BoxerError, match="'path'"):
        call(kind, host.url, "upload_file", "a", b"")


@both
def test_a_host_that_rejects_a_body_without_reading_it(kind: str) -> None:
    answer = b'{"error":"too large"}'
    head = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(head + answer)

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        # The connection reset can arrive before the response.
        with pytest.raises(BoxerError, match="HTTP 413: too large|over the host's limit|/files: ") as caught:
            call(kind, url, "upload_file", "a", bytes(20_000_000))
        thread.join()
    assert isinstance(caught.value, BoxerConnectionError) or getattr(caught.value, "status_code", 0) == 413

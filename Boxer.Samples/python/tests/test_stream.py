from __future__ import annotations

import asyncio
import json
from typing import Any, Dict, List

import pytest

from boxer import (
    AsyncBoxerClient,
    BoxerAPIError,
    BoxerCapacityError,
    BoxerClient,
    BoxerConnectionError,
    BoxerOutputLimitError,
    BoxerProtocolError,
    BoxerTimeoutError,
    RunEnded,
    RunEvent,
    RunResult,
    RunStarted,
    RunText,
)
from both import both, stream
from fake_host import Answer, FakeHost

RESULT: Dict[str, Any] = {
    "exec_id": "boxer-1",
    "exit_code": 3,
    "stdout": "a\nü\n",
    "stderr": "e",
    "wall_ms": 5,
    "termination": "exited",
}
STREAM = (
    b'event: started\ndata: {"exec_id":"boxer-1"}\n\n'
    b'event: stdout\ndata: {"text":"a\\n"}\n\n'
    b": still here\n\n"
    b'event: stderr\ndata: {"text":"e"}\n\n'
    b'event: stdout\ndata: {"text":"\xc3\xbc\xe2\x80\xa8\\n"}\n\n'
    b"event: invented_later\ndata: 1\n\n"
    b"event: end\ndata: " + json.dumps(RESULT).encode() + b"\n\n"
)
EVENTS = [
    RunStarted("boxer-1"),
    RunText("stdout", "a\n"),
    RunText("stderr", "e"),
    RunText("stdout", "ü\u2028\n"),
    RunEnded(RunResult.from_json(RESULT)),
]


@both
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_events_in_chunks_of_any_size(kind: str, host: FakeHost, size: int, line_end: bytes) -> None:
    wire = STREAM.replace(b"\n", line_end)
    host.events(*(wire[start : start + size] for start in range(0, len(wire), size)))
    seen: List[RunEvent] = []

    result = stream(kind, host.url, seen, image="i", cmd=["c"], limits={"memory_mb": 64})

    assert seen == EVENTS
    assert result == RunResult.from_json(RESULT)
    assert host.last.json == {"image": "i", "cmd": ["c"], "network": "none", "persist": False, "limits": {"memory_mb": 64}}


@both
def test_a_large_end_event(kind: str, host: FakeHost) -> None:
    body = {**RESULT, "stdout": "x" * 10_000_000}
    host.events(b"event: end\ndata: " + json.dumps(body).encode() + b"\n\n")
    seen: List[RunEvent] = []
    assert stream(kind, host.url, seen, image="i", cmd=["c"]).stdout == body["stdout"]


@both
@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, BoxerAPIError), (408, BoxerTimeoutError), (429, BoxerCapacityError), (507, BoxerOutputLimitError)],
)
def test_an_end_event_with_an_error_status(kind: str, host: FakeHost, status: int, expected: Any) -> None:
    body = {"status": status, "error": "words", "exec_id": "boxer-1", "stdout": "a\n", "stderr": "e"}
    host.events(STREAM[:80], b"event: end\ndata: " + json.dumps(body).encode() + b"\n\n")
    seen: List[RunEvent] = []
    with pytest.raises(BoxerAPIError, match=f"HTTP {status}: words") as caught:
        stream(kind, host.url, seen, image="i", cmd=["c"])
    assert type(caught.value) is expected
    assert (caught.value.exec_id, caught.value.stdout, caught.value.stderr) == ("boxer-1", "a\n", "e")
    assert caught.value.raw == body
    assert seen == EVENTS[:2]


@both
def test_an_end_event_with_the_memory_limit_is_a_result(kind: str, host: FakeHost) -> None:
    body = {**RESULT, "status": 200, "exit_code": 137, "termination": "memory_limit", "error": "words"}
    host.events(b"event: end\ndata: " + json.dumps(body).encode() + b"\n\n")
    result = stream(kind, host.url, [], image="i", cmd=["c"])
    assert (result.exit_code, result.termination, result.error) == (137, "memory_limit", "words")


@both
@pytest.mark.parametrize("abort", [False, True])
def test_a_stream_that_ends_before_the_run(kind: str, host: FakeHost, abort: bool) -> None:
    host.events(STREAM[:80], abort=abort)
    seen: List[RunEvent] = []
    with pytest.raises(BoxerConnectionError):
        stream(kind, host.url, seen, image="i", cmd=["c"])
    assert seen == EVENTS[:2]


@both
@pytest.mark.parametrize(
    "wire",
    [
        b"event: stdout\ndata: broken\n\n",
        b"event: stdout\ndata: {}\n\n",
        b'event: started\ndata: {"exec_id":1}\n\n',
        b"event: end\ndata: {}\n\n",
        b"event: end\n\n",
    ],
)
def test_invalid_events(kind: str, host: FakeHost, wire: bytes) -> None:
    host.events(wire)
    with pytest.raises(BoxerProtocolError):
        stream(kind, host.url, [], image="i", cmd=["c"])


@both
def test_a_response_that_is_not_a_stream(kind: str, host: FakeHost) -> None:
    host.answers["POST", "/run/stream"] = Answer(200, b"<html>", {"Content-Type": "text/html"})
    with pytest.raises(BoxerProtocolError, match="'text/html'"):
        stream(kind, host.url, [], image="i", cmd=["c"])


@both
def test_leaving_early_closes_the_connection(kind: str, host: FakeHost) -> None:
    flood = b'event: stdout\ndata: {"text":"' + b"x" * 65536 + b'"}\n\n'
    host.events(*[flood] * 1000)

    def first(event: Any) -> None:
        assert isinstance(event, RunText)

    async def main() -> None:
        async with AsyncBoxerClient(host.url) as client:
            async with client.stream("i", ["c"]) as events:
                async for event in events:
                    first(event)
                    break
            assert host.client_left.wait(10)

    if kind == "async":
        asyncio.run(main())
        return
    with BoxerClient(host.url) as client:
        with client.stream("i", ["c"]) as events:
            for event in events:
                first(event)
                break
        assert host.client_left.wait(10)


@both
def test_iterating_sends_the_request(kind: str, host: FakeHost) -> None:
    async def main() -> None:
        async with AsyncBoxerClient(host.url) as client, client.stream("i", ["c"]):
            pass

    if kind == "async":
        asyncio.run(main())
    else:
        with BoxerClient(host.url) as client, client.stream("i", ["c"]):
            pass
    assert host.requests == []

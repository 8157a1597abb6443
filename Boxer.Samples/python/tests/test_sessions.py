"""Sessions against a host with prepared answers. Each test runs with both clients."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from typing import Any, Awaitable, Callable, Dict, List

import pytest

from boxer import (
    AsyncBoxerClient,
    AsyncProcess,
    AsyncSession,
    BoxerAPIError,
    BoxerCapacityError,
    BoxerClient,
    BoxerConnectionError,
    BoxerError,
    BoxerNotFoundError,
    BoxerProtocolError,
    BoxerSessionEndedError,
    BoxerSessionPausedError,
    BoxerTimeoutError,
    FileChange,
    FileInfo,
    Process,
    ProcessEnded,
    ProcessEvent,
    ProcessOutput,
    ResourceLimits,
    RunEnded,
    RunText,
    Session,
    SessionInfo,
)
from boxer import _session_wire, _wire
from both import both
from fake_host import Answer, FakeHost

ID = "a1b2c3d4e5f6g7h8i9j0k1l2m3"
PATH = f"/sessions/{ID}"
SESSION: Dict[str, Any] = {
    "id": ID,
    "state": "running",
    "ended": None,
    "image_digest": "sha256:0",
    "created_at": "2026-11-30T02:00:00Z",
    "expires_at": "2026-11-30T03:00:00Z",
    "idle_timeout_secs": 300,
    "lifetime_secs": 3600.5,
    "labels": {"who": "me"},
}
RESULT: Dict[str, Any] = {"exec_id": "boxer-1", "exit_code": 0, "stdout": "a\n", "stderr": "", "wall_ms": 5, "termination": "exited", "left_behind": 2}
PROCESS: Dict[str, Any] = {"pid": 7, "cmd": ["sh"], "terminal": False, "started_at": "2026-11-30T02:00:00Z", "ended": None}
END: Dict[str, Any] = {"termination": "exited", "exit_code": 3, "signal": None, "left_behind": 1, "usage": {"cpu_ms": 4}}
JSON = {"Content-Type": "application/json"}
EVENTS = {"Content-Type": "text/event-stream"}


class Answers:
    """Awaits what the methods of an asynchronous object return, so that one test serves both clients."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    async def __call__(self, value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value

    async def all(self, events: Any) -> List[Any]:
        return [event async for event in events] if hasattr(events, "__aiter__") else list(events)


def with_session(kind: str, host: FakeHost, use: Callable[[Any, Answers], Awaitable[None]], **arguments: Any) -> None:
    """Opens a session of either client and closes it after ``use``."""
    host.json("POST", "/sessions", 201, SESSION)
    host.json("DELETE", PATH, 200, {**SESSION, "state": "ended", "ended": "closed"})
    answers = Answers(kind)
    arguments = {"image": "i", **arguments}

    async def asynchronous() -> None:
        async with AsyncBoxerClient(host.url) as client, client.session(**arguments) as box:
            await use(box, answers)

    async def synchronous() -> None:
        with BoxerClient(host.url) as client, client.session(**arguments) as box:
            await use(box, answers)

    asyncio.run(asynchronous() if kind == "async" else synchronous())


def event(name: str, data: Any, number: int = 0) -> bytes:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


def printed(offset: int, text: str, stream: str = "stdout") -> bytes:
    return event(stream, {"offset": offset, "text": text}, offset + len(text.encode()))


@both
def test_a_session_is_opened_used_and_closed(kind: str, host: FakeHost) -> None:
    host.json("POST", f"{PATH}/exec", 200, RESULT)

    async def use(box: Any, answers: Answers) -> None:
        assert (box.id, box.info.state, box.info.labels) == (ID, "running", {"who": "me"})
        assert (box.info.created_at, box.info.expires_at) == ("2026-11-30T02:00:00Z", "2026-11-30T03:00:00Z")
        assert (box.info.idle_timeout_secs, box.info.lifetime_secs) == (300, 3600.5)
        result = await answers(box.run(["make"], env={"A": "b"}, cwd="/src", stdin=b"\xff", user="0", merge_stderr=True, stop_grace_ms=5))
        assert (result.stdout, result.left_behind) == ("a\n", 2)

    with_session(
        kind,
        host,
        use,
        network="sandbox",
        limits=ResourceLimits(memory_mb=64),
        cwd="/w",
        files=["job/main.py"],
        inputs=[{"path": "a", "content": b"\xff"}],
        persist=True,
        pull="never",
        labels={"who": "me"},
        idle_timeout=60,
        lifetime=600.5,
    )

    assert [(request.method, request.path) for request in host.requests] == [("POST", "/sessions"), ("POST", f"{PATH}/exec"), ("DELETE", PATH)]
    assert host.requests[0].json == {
        "image": "i",
        "network": "sandbox",
        "limits": {"memory_mb": 64},
        "cwd": "/w",
        "files": ["job/main.py"],
        "inputs": [{"path": "a", "content_base64": "/w=="}],
        "persist": True,
        "pull": "never",
        "labels": {"who": "me"},
        "idle_timeout_secs": 60,
        "lifetime_secs": 600.5,
    }
    assert host.requests[1].json == {
        "cmd": ["make"],
        "env": ["A=b"],
        "cwd": "/src",
        "stdin_base64": "/w==",
        "user": "0",
        "merge_stderr": True,
        "stop_grace_ms": 5,
    }


@both
def test_the_session_is_closed_when_its_block_fails(kind: str, host: FakeHost) -> None:
    async def use(box: Any, answers: Answers) -> None:
        raise RuntimeError("of the block")

    with pytest.raises(RuntimeError, match="of the block"):
        with_session(kind, host, use)
    assert host.last.method == "DELETE"


@both
@pytest.mark.parametrize("status", [404, 410])
def test_closing_a_session_that_is_gone_is_no_error(kind: str, host: FakeHost, status: int) -> None:
    async def use(box: Any, answers: Answers) -> None:
        host.json("DELETE", PATH, status, {"error": "gone", "ended": "lifetime"})
        await answers(box.close())

    with_session(kind, host, use)
    assert host.last.method == "DELETE"


def test_an_awaited_session_stays_open(host: FakeHost) -> None:
    host.json("POST", "/sessions", 201, SESSION)

    async def main() -> None:
        async with AsyncBoxerClient(host.url) as client:
            box = await client.session("i")
            assert isinstance(box, AsyncSession) and repr(box) == f"AsyncSession({ID!r})"

    asyncio.run(main())
    assert [request.method for request in host.requests] == ["POST"]


@both
def test_sessions_are_listed_and_found(kind: str, host: FakeHost) -> None:
    host.json("GET", "/sessions", 200, [SESSION])
    host.json("GET", PATH, 200, {**SESSION, "state": "paused", "expires_at": None})

    async def use(box: Any, answers: Answers) -> None:
        client = box._client
        listed = await answers(client.sessions())
        assert [item.info for item in listed] == [SessionInfo.from_json(SESSION)]
        found = await answers(client.session_by_id(ID))
        assert (found.info.state, found.info.ended, found.info.expires_at) == ("paused", None, None)
        assert (await answers(listed[0].refresh())).state == "paused"
        assert (found.info.network_denied, found.info.network_usage, found.info.network_incomplete) == ([], {}, None)
        denied = [{"address": "10.0.0.1", "port": 80, "protocol": "tcp", "count": 2}]
        host.json("GET", PATH, 200, {**SESSION, "network_denied": denied, "network_usage": {"bytes_in": 5, "bytes_out": 3}})
        info = await answers(found.refresh())
        assert (info.network_denied, info.network_usage) == (denied, {"bytes_in": 5, "bytes_out": 3})
        for bad in ("", "../run", ID.upper(), "a" * 19, "a" * 58, ID + "\n"):
            with pytest.raises(ValueError, match="session: "):
                await answers(client.session_by_id(bad))

    with_session(kind, host, use)


@both
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (410, {"error": "words", "ended": "memory_limit"}, BoxerSessionEndedError),
        (409, {"error": "words", "state": "paused"}, BoxerSessionPausedError),
        (409, {"error": "words"}, BoxerAPIError),
        (404, {"error": "words"}, BoxerNotFoundError),
        (429, {"error": "words"}, BoxerCapacityError),
        (408, {"error": "words"}, BoxerTimeoutError),
    ],
)
def test_errors_of_every_call(kind: str, host: FakeHost, status: int, body: Any, expected: Any) -> None:
    calls: List[Callable[[Any], Any]] = [
        lambda box: box.run(["c"]),
        lambda box: box.stream(["c"]),
        lambda box: box.start(["c"]),
        lambda box: box.processes(),
        lambda box: box.process(7),
        lambda box: box.connect(80),
        lambda box: box.pause(),
        lambda box: box.resume(),
        lambda box: box.extend(lifetime=1),
        lambda box: box.refresh(),
        lambda box: box.files.read("a"),
        lambda box: box.files.write("a", b""),
        lambda box: box.files.list(),
        lambda box: box.files.stat("a"),
        lambda box: box.files.mkdir("a"),
        lambda box: box.files.move("a", "b"),
        lambda box: box.files.remove("a"),
        lambda box: box.files.read_tar(),
        lambda box: box.files.write_tar("a", b""),
    ]

    async def use(box: Any, answers: Answers) -> None:
        host.json("GET", PATH, status, body)
        host.json("PATCH", PATH, status, body)
        for method, path in [("POST", "exec"), ("POST", "exec/stream"), ("POST", "processes"), ("POST", "pause"), ("POST", "resume")]:
            host.json(method, f"{PATH}/{path}", status, body)
        for path in ("processes", "processes/7", "ports/80", "files", "files/list", "files/stat", "files/tar"):
            host.json("GET", f"{PATH}/{path}", status, body)
        for method, path in [("PUT", "files"), ("DELETE", "files"), ("PUT", "files/tar"), ("POST", "files/mkdir"), ("POST", "files/move")]:
            host.json(method, f"{PATH}/{path}", status, body)
        for number, call in enumerate(calls):
            with pytest.raises(BoxerAPIError) as caught:
                value = await answers(call(box))
                await answers.all(value)
            assert type(caught.value) is expected, number
            assert (caught.value.status_code, caught.value.message, caught.value.raw) == (status, "words", body)
            if isinstance(caught.value, BoxerSessionEndedError):
                assert caught.value.ended == "memory_limit"
            if isinstance(caught.value, BoxerSessionPausedError):
                assert str(caught.value) == "HTTP 409: the session is paused; call resume() first, or make the call with resume=True"

    with_session(kind, host, use)


@both
def test_pause_resume_and_extend(kind: str, host: FakeHost) -> None:
    host.json("POST", f"{PATH}/pause", 200, SESSION)
    host.json("POST", f"{PATH}/resume", 200, SESSION)
    host.json("PATCH", PATH, 200, {**SESSION, "expires_at": "2026-12-01T00:00:00Z"})

    async def use(box: Any, answers: Answers) -> None:
        await answers(box.pause())
        await answers(box.resume())
        info = await answers(box.extend(idle_timeout=10))
        assert host.last.json == {"idle_timeout_secs": 10}
        assert info is box.info and info.expires_at == "2026-12-01T00:00:00Z"
        await answers(box.extend(lifetime=20))
        assert host.last.json == {"lifetime_secs": 20}

    with_session(kind, host, use)


@both
def test_a_streamed_command(kind: str, host: FakeHost) -> None:
    wire = event("stdout", {"text": "a\n"}) + event("end", RESULT)
    host.answers["POST", f"{PATH}/exec/stream"] = Answer(200, [wire], EVENTS)

    async def use(box: Any, answers: Answers) -> None:
        seen = await answers.all(box.stream(["c"]))
        assert seen[0] == RunText("stdout", "a\n")
        assert isinstance(seen[1], RunEnded) and seen[1].result.left_behind == 2

    with_session(kind, host, use)


@both
def test_a_process_is_started_written_to_and_signalled(kind: str, host: FakeHost) -> None:
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    host.json("GET", f"{PATH}/processes", 200, [PROCESS, {**PROCESS, "pid": 8, "ended": END}])
    host.json("GET", f"{PATH}/processes/7", 200, {**PROCESS, "ended": END})
    host.answers["DELETE", f"{PATH}/processes/7"] = Answer(204, b"", {})
    for name in ("stdin", "signal", "resize"):
        host.json("POST", f"{PATH}/processes/7/{name}", 200, {"pid": 7})

    async def use(box: Any, answers: Answers) -> None:
        process = await answers(box.start(["sh"], terminal=(120, 40), env={"A": "b"}, cwd="/", user="0"))
        assert host.last.json == {"cmd": ["sh"], "terminal": {"cols": 120, "rows": 40}, "env": ["A=b"], "cwd": "/", "user": "0"}
        assert (process.pid, process.info.cmd, process.info.ended) == (7, ["sh"], None)
        await answers(box.start(["sh"], limits={"nofile": 9}, merge_stderr=True))
        assert host.last.json == {"cmd": ["sh"], "limits": {"nofile": 9}, "merge_stderr": True}
        await answers(process.write("ü\n"))
        assert (host.last.path, host.last.body, host.last.query) == (f"{PATH}/processes/7/stdin", "ü\n".encode(), {})
        await answers(process.write(b"x" * (2 * _session_wire.WRITE_BYTES + 1)))
        assert [len(request.body) for request in host.requests[-3:]] == [_session_wire.WRITE_BYTES, _session_wire.WRITE_BYTES, 1]
        await answers(process.close_stdin())
        assert (host.last.body, host.last.query) == (b"", {"end": ["true"]})
        await answers(process.signal(2))
        assert (host.last.path, host.last.json) == (f"{PATH}/processes/7/signal", {"signal": 2})
        await answers(process.resize(100, 30))
        assert (host.last.path, host.last.json) == (f"{PATH}/processes/7/resize", {"cols": 100, "rows": 30})
        assert [item.pid for item in await answers(box.processes())] == [7, 8]
        assert (await answers(box.process(7))).info.ended == ProcessEnded.from_json(END)
        await answers(process.kill())
        assert (host.last.method, host.last.path) == ("DELETE", f"{PATH}/processes/7")

    with_session(kind, host, use)


@both
@pytest.mark.parametrize("status", [204, 404, 410])
def test_leaving_the_block_of_a_process_kills_it(kind: str, host: FakeHost, status: int) -> None:
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    host.answers["DELETE", f"{PATH}/processes/7"] = Answer(status, b"", {})

    async def use(box: Any, answers: Answers) -> None:
        process = await answers(box.start(["sh"]))
        if isinstance(process, AsyncProcess):
            async with process:
                pass
        else:
            assert isinstance(process, Process)
            with process:
                pass
        assert (host.last.method, host.last.path) == ("DELETE", f"{PATH}/processes/7")

    with_session(kind, host, use)


def attach(kind: str, host: FakeHost, answers: List[Answer], from_offset: int = 0) -> List[ProcessEvent]:
    """Reads the events of a process, whose host gives these answers one after the other."""
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    host.queues["GET", f"{PATH}/processes/7/events"] = answers
    seen: List[ProcessEvent] = []

    async def use(box: Any, awaited: Answers) -> None:
        process = await awaited(box.start(["sh"]))
        events = process.events(from_offset)
        if kind == "sync":
            for item in events:
                seen.append(item)
        else:
            async for item in events:
                seen.append(item)
        assert events.ended is seen[-1]

    with_session(kind, host, use)
    return seen


def resumed_at(host: FakeHost) -> List[Any]:
    return [request.headers.get("last-event-id") for request in host.requests if request.path.endswith("/events")]


@both
def test_events_of_a_process(kind: str, host: FakeHost) -> None:
    wire = (
        printed(0, "aü")
        + b": waiting\n\n"
        + event("invented_later", 1)
        + event("stderr", {"offset": 3, "text": "\ufffd", "content_base64": base64.b64encode(b"\xff\xfe").decode()}, 5)
        + printed(5, "t", "output")
        + event("ended", END, 6)
    )
    seen = attach(kind, host, [Answer(200, [wire[start : start + 7] for start in range(0, len(wire), 7)], EVENTS)])
    assert seen == [
        ProcessOutput(0, "stdout", "aü".encode()),
        ProcessOutput(3, "stderr", b"\xff\xfe"),
        ProcessOutput(5, "output", b"t"),
        ProcessEnded("exited", 3, None, 1, {"cpu_ms": 4}),
    ]
    assert resumed_at(host) == [None]


@both
@pytest.mark.parametrize("abort", [False, True])
def test_a_broken_stream_of_events_is_attached_again(kind: str, host: FakeHost, abort: bool) -> None:
    seen = attach(
        kind,
        host,
        [
            # The second event is cut in the middle.
            Answer(200, [printed(0, "abc"), printed(3, "def")[:25]], EVENTS, abort=abort),
            # The host sends some bytes twice.
            Answer(200, [printed(1, "bcde"), printed(5, "f")], EVENTS, abort=abort),
            # Old output was dropped.
            Answer(200, [printed(100, "z"), event("ended", END, 101)], EVENTS),
        ],
    )
    assert [(item.offset, item.data) for item in seen if isinstance(item, ProcessOutput)] == [(0, b"abc"), (3, b"de"), (5, b"f"), (100, b"z")]
    assert resumed_at(host) == [None, "3", "6"]


@both
def test_events_from_an_offset(kind: str, host: FakeHost) -> None:
    seen = attach(kind, host, [Answer(200, [printed(0, "abcdef"), event("ended", END, 6)], EVENTS)], from_offset=4)
    assert seen[0] == ProcessOutput(4, "stdout", b"ef")
    assert resumed_at(host) == ["4"]


@both
def test_attaching_again_ends_after_some_attempts(kind: str, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session_wire, "ATTACH_WAITS", (0.0, 0.0))
    nothing = Answer(200, [b": waiting\n\n"], EVENTS)
    with pytest.raises(BoxerConnectionError, match="ended before the process did"):
        attach(kind, host, [nothing, nothing, nothing, Answer(200, [event("ended", END)], EVENTS)])
    assert len(resumed_at(host)) == 3


@both
def test_a_quiet_process_is_attached_again_as_often_as_it_takes(kind: str, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session_wire, "ATTACH_WAITS", (0.0, 0.0))
    # Each connection gets a comment at once, and works for longer than LASTING.
    monkeypatch.setattr(_session_wire, "LASTING", -1.0)
    quiet = Answer(200, [b": waiting\n\n"], EVENTS, abort=True)
    seen = attach(kind, host, [quiet] * 10 + [Answer(200, [event("ended", END)], EVENTS)])
    assert [type(item) for item in seen] == [ProcessEnded]
    assert len(resumed_at(host)) == 11


@both
def test_the_rest_of_a_write_is_sent_again_until_the_process_takes_nothing(kind: str, host: FakeHost) -> None:
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    host.queues["POST", f"{PATH}/processes/7/stdin"] = [
        Answer(status, json.dumps(body).encode(), JSON)
        for status, body in [
            (409, {"error": "stalled", "written": 3}),
            (200, {"pid": 7}),
            (409, {"error": "stalled", "written": 2}),
            (409, {"error": "stalled", "written": 0}),
            (409, {"error": "the standard input of the process is closed."}),
        ]
    ]

    async def use(box: Any, answers: Answers) -> None:
        process = await answers(box.start(["sh"]))
        host.requests.clear()
        await answers(process.write("abcdef"))
        with pytest.raises(BoxerAPIError, match="stalled") as caught:
            await answers(process.write("ghijkl"))
        assert (caught.value.status_code, caught.value.raw["written"]) == (409, 2)
        with pytest.raises(BoxerAPIError, match="closed"):
            await answers(process.write("m"))

    with_session(kind, host, use)
    assert [request.body for request in host.requests[:5]] == [b"abcdef", b"def", b"ghijkl", b"ijkl", b"m"]


@both
def test_a_write_ends_with_a_pause_and_does_not_resume_a_session_that_was_paused_later(kind: str, host: FakeHost) -> None:
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    paused: Any = {"error": "The session is paused.", "state": "paused"}
    host.queues["POST", f"{PATH}/processes/7/stdin"] = [
        Answer(status, json.dumps(body).encode(), JSON)
        for status, body in [
            (409, {"error": "stalled", "written": 2}),
            (409, {**paused, "written": 1}),
            (409, {"error": "stalled", "written": 2}),
            (409, paused),
        ]
    ]

    async def use(box: Any, answers: Answers) -> None:
        process = await answers(box.start(["sh"]))
        host.requests.clear()
        for written in (3, 2):
            with pytest.raises(BoxerSessionPausedError) as caught:
                await answers(process.write("abcdef", resume=True))
            assert caught.value.raw["written"] == written

    with_session(kind, host, use)
    sent = [(request.body, request.query) for request in host.requests[:4]]
    assert sent == [(b"abcdef", {"resume": ["true"]}), (b"cdef", {}), (b"abcdef", {"resume": ["true"]}), (b"cdef", {})]


@both
def test_calls_that_the_host_may_answer_late_have_their_own_timeouts(kind: str, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: Dict[str, Any] = {}
    build = _wire.Call.build

    def recorded(call: _wire.Call, client: Any) -> Any:
        request = build(call, client)
        waits[f"{request.method} {request.url.path}"] = (request.extensions["timeout"]["read"], request.extensions["timeout"]["write"])
        return request

    monkeypatch.setattr(_wire.Call, "build", recorded)
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    for method, path in [("POST", "pause"), ("DELETE", "files"), ("POST", "processes/7/stdin"), ("POST", "files/mkdir")]:
        host.json(method, f"{PATH}/{path}", 200, {})

    async def use(box: Any, answers: Answers) -> None:
        await answers((await answers(box.start(["sh"]))).write("a"))
        await answers(box.files.remove("a"))
        await answers(box.files.mkdir("a"))
        await answers(box.pause())

    with_session(kind, host, use)
    assert waits[f"POST {PATH}/pause"] == (None, 60)
    assert waits[f"DELETE {PATH}/files"] == (330, 60)
    assert waits[f"POST {PATH}/processes/7/stdin"] == (470, 470)
    assert waits[f"POST {PATH}/files/mkdir"] == (60, 60)


@both
def test_a_host_that_restarted_ends_the_events(kind: str, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session_wire, "ATTACH_WAITS", (0.0, 0.0))
    gone = Answer(410, json.dumps({"error": "ended", "ended": "host_stopped"}).encode(), JSON)
    with pytest.raises(BoxerSessionEndedError) as caught:
        attach(kind, host, [Answer(200, [printed(0, "a")], EVENTS, abort=True), gone])
    assert caught.value.ended == "host_stopped"


@both
def test_the_end_of_the_session_ends_the_events(kind: str, host: FakeHost) -> None:
    seen = attach(kind, host, [Answer(200, [event("ended", {**END, "session_ended": "lifetime"})], EVENTS)])
    assert isinstance(seen[0], ProcessEnded) and seen[0].session_ended == "lifetime"
    end = event("error", {"status": 410, "error": "ended", "ended": "memory_limit"})
    with pytest.raises(BoxerSessionEndedError) as caught:
        attach(kind, host, [Answer(200, [printed(0, "a"), end], EVENTS)])
    assert caught.value.ended == "memory_limit"


@both
@pytest.mark.parametrize(
    "wire",
    [
        event("stdout", {"text": "a"}),
        event("stdout", {"offset": "0", "text": "a"}),
        event("stdout", {"offset": 0}),
        event("stdout", {"offset": 0, "content_base64": "?"}),
        event("ended", {}),
        event("error", {}),
        event("stdout", []),
    ],
)
def test_invalid_events_of_a_process(kind: str, host: FakeHost, wire: bytes) -> None:
    with pytest.raises(BoxerProtocolError):
        attach(kind, host, [Answer(200, [wire], EVENTS)])


@both
def test_waiting_for_a_process(kind: str, host: FakeHost) -> None:
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    host.answers["GET", f"{PATH}/processes/7/events"] = Answer(200, [printed(0, "a"), event("ended", END, 1)], EVENTS)

    async def use(box: Any, answers: Answers) -> None:
        process = await answers(box.start(["sh"]))
        assert (await answers(process.wait())).exit_code == 3
        assert [type(item) for item in await answers.all(process)] == [ProcessOutput, ProcessEnded]

    with_session(kind, host, use)


@both
def test_files(kind: str, host: FakeHost) -> None:
    entry = {"path": "a/b", "type": "file", "size": 3, "mode": "0644", "modified_at": "2026-11-30T02:00:00Z"}
    host.answers["GET", f"{PATH}/files"] = Answer(200, b"a\xffb", {"Content-Type": "application/octet-stream"})
    host.answers["GET", f"{PATH}/files/tar"] = Answer(200, [b"t", b"ar"], {"Content-Type": "application/x-tar"})
    host.json("GET", f"{PATH}/files/list", 200, [entry], X_Boxer_Incomplete="true")
    host.json("GET", f"{PATH}/files/stat", 200, entry)
    for method, name in [("PUT", ""), ("DELETE", ""), ("PUT", "/tar"), ("POST", "/mkdir"), ("POST", "/move")]:
        host.answers[method, f"{PATH}/files{name}"] = Answer(204, b"", {})
    path = "dïr/a b?&.txt"

    async def use(box: Any, answers: Answers) -> None:
        assert await answers(box.files.read(path)) == b"a\xffb"
        assert host.last.query == {"path": [path]}
        with pytest.raises(BoxerError, match="max_bytes"):
            await answers(box.files.read(path, max_bytes=2))
        await answers(box.files.write(path, "ü", mode="0755"))
        assert (host.last.query, host.last.body) == ({"path": [path], "mode": ["0755"]}, "ü".encode())
        await answers(box.files.write(path, b""))
        assert (host.last.query, host.last.body) == ({"path": [path]}, b"")
        files = await answers(box.files.list("a", depth=3))
        assert host.last.query == {"path": ["a"], "depth": ["3"]}
        assert (files, files.incomplete) == ([FileInfo.from_json(entry)], True)
        assert await answers(box.files.stat("a/b")) == files[0]
        await answers(box.files.mkdir("a/c"))
        assert host.last.json == {"path": "a/c"}
        await answers(box.files.move("a", "b"))
        assert host.last.json == {"from": "a", "to": "b"}
        await answers(box.files.remove("b"))
        assert (host.last.method, host.last.query) == ("DELETE", {"path": ["b"]})
        assert await answers(box.files.read_tar("a")) == b"tar"
        await answers(box.files.write_tar("a", b"tar"))
        assert (host.last.method, host.last.path, host.last.query, host.last.body) == ("PUT", f"{PATH}/files/tar", {"path": ["a"]}, b"tar")

    with_session(kind, host, use)


@both
def test_every_call_can_resume_a_paused_session(kind: str, host: FakeHost) -> None:
    host.json("POST", f"{PATH}/exec", 200, RESULT)
    host.json("POST", f"{PATH}/processes", 201, PROCESS)
    host.json("GET", f"{PATH}/files/list", 200, [])
    host.json("GET", f"{PATH}/files/stat", 200, {"path": "a", "type": "file"})
    host.answers["POST", f"{PATH}/exec/stream"] = Answer(200, [event("end", {"status": 200, **RESULT})], EVENTS)
    host.answers["GET", f"{PATH}/files/watch"] = Answer(200, [event("started", {"path": ""})], EVENTS)
    host.queues["GET", f"{PATH}/processes/7/events"] = [
        Answer(200, [printed(0, "a")], EVENTS, abort=True),
        Answer(200, [event("ended", END, 1)], EVENTS),
        Answer(200, [event("ended", END, 1)], EVENTS),
    ]
    for method, name in [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/tar"), ("PUT", "/tar"), ("POST", "/mkdir"), ("POST", "/move")]:
        host.answers[method, f"{PATH}/files{name}"] = Answer(200, b"", {"Content-Type": "application/octet-stream"})
    for name in ("stdin", "signal", "resize"):
        host.json("POST", f"{PATH}/processes/7/{name}", 200, {"pid": 7})
    host.json("DELETE", f"{PATH}/processes/7", 200, {**PROCESS, "ended": END})

    async def use(box: Any, answers: Answers) -> None:
        host.requests.clear()
        await answers(box.run(["a"], resume=True))
        await answers.all(box.stream(["a"], resume=True))
        process = await answers(box.start(["sh"], resume=True))
        await answers(process.write("a", resume=True))
        await answers(process.close_stdin(resume=True))
        await answers(process.signal(15, resume=True))
        await answers(process.resize(80, 24, resume=True))
        await answers.all(process.events(resume=True))
        await answers(process.wait(resume=True))
        await answers(process.kill(resume=True))
        files = box.files
        await answers(files.read("a", resume=True))
        await answers.all(files.stream("a", resume=True))
        await answers(files.write("a", "a", resume=True))
        await answers(files.list(resume=True))
        await answers(files.stat("a", resume=True))
        await answers(files.mkdir("a", resume=True))
        await answers(files.move("a", "b", resume=True))
        await answers(files.remove("a", resume=True))
        await answers(files.read_tar(resume=True))
        await answers.all(files.stream_tar(resume=True))
        await answers(files.write_tar("a", b"", resume=True))
        with pytest.raises(BoxerConnectionError, match="ended the watch"):
            await answers.all(files.watch(resume=True))
        await answers(files.list())

    with_session(kind, host, use)

    resumed = [request.query.get("resume") for request in host.requests]
    # The second request for events attaches again; the last two are the list without it and the end of the session.
    assert resumed == [["true"]] * 8 + [None] + [["true"]] * 14 + [None, None]


@both
def test_files_are_sent_and_received_in_pieces(kind: str, host: FakeHost, tmp_path: Any) -> None:
    content = bytes(range(256)) * 1000
    for name in ("", "/tar"):
        host.answers["PUT", f"{PATH}/files{name}"] = Answer(200, b"{}")
        host.answers["GET", f"{PATH}/files{name}"] = Answer(200, [b"a" * 1000, b"b" * 1000], {"Content-Type": "application/octet-stream"})
    (tmp_path / "local").write_bytes(content)

    async def produced() -> Any:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    async def use(box: Any, answers: Answers) -> None:
        with open(tmp_path / "local", "rb") as file:
            file.seek(1000)
            await answers(box.files.write("a", file, mode="0600"))
        assert (host.last.body, host.last.query) == (content[1000:], {"path": ["a"], "mode": ["0600"]})
        await answers(box.files.write("a", (content[start : start + 1000] for start in range(0, len(content), 1000))))
        assert host.last.body == content
        with open(tmp_path / "local", "rb") as file:
            await answers(box.files.write_tar("a", file))
        assert (host.last.body, host.last.path) == (content, f"{PATH}/files/tar")
        if kind == "async":
            await answers(box.files.write("a", produced()))
            assert host.last.body == content
        assert b"".join(await answers.all(box.files.stream("a"))) == b"a" * 1000 + b"b" * 1000
        assert b"".join(await answers.all(box.files.stream_tar("a"))) == b"a" * 1000 + b"b" * 1000
        assert (host.last.path, host.last.query) == (f"{PATH}/files/tar", {"path": ["a"]})

    with_session(kind, host, use)


@both
def test_a_stream_of_a_file_that_is_cut_off_or_missing_raises(kind: str, host: FakeHost) -> None:
    host.queues["GET", f"{PATH}/files"] = [
        Answer(200, [b"a"], {"Content-Type": "application/octet-stream"}, abort=True),
        Answer(404, b'{"error":"no such file","reason":"not_found"}'),
    ]

    async def use(box: Any, answers: Answers) -> None:
        with pytest.raises(BoxerConnectionError):
            await answers.all(box.files.stream("a"))
        with pytest.raises(BoxerNotFoundError, match="no such file"):
            await answers.all(box.files.stream("a"))

    with_session(kind, host, use)


@both
def test_a_watch_yields_changes_after_its_start(kind: str, host: FakeHost) -> None:
    wire = (
        event("started", {"path": ""})
        + event("created", {"path": "dïr/a"})
        + b": waiting\n\n"
        + event("invented_later", 1)
        + event("changed", {"path": ""})
        + event("deleted", {"path": "b"})
        + event("overflow", {"path": ""})
        + event("error", {"status": 410, "error": "ended", "ended": "lifetime"})
    )
    host.answers["GET", f"{PATH}/files/watch"] = Answer(200, [wire[start : start + 7] for start in range(0, len(wire), 7)], EVENTS)
    seen: List[Any] = []

    async def use(box: Any, answers: Answers) -> None:
        if kind == "sync":
            with box.files.watch("src") as changes:
                for change in changes:
                    seen.append(change)
        else:
            async with box.files.watch("src") as changes:
                async for change in changes:
                    seen.append(change)

    with pytest.raises(BoxerSessionEndedError) as caught:
        with_session(kind, host, use)
    assert caught.value.ended == "lifetime"
    assert host.requests[1].query == {"path": ["src"]}
    assert seen == [FileChange("created", "dïr/a"), FileChange("changed", ""), FileChange("deleted", "b"), FileChange("overflow", "")]


@both
@pytest.mark.parametrize("wire", [event("started", []), event("started", {"path": 1}), event("error", {})])
def test_invalid_events_of_a_watch(kind: str, host: FakeHost, wire: bytes) -> None:
    host.answers["GET", f"{PATH}/files/watch"] = Answer(200, [wire], EVENTS)

    async def use(box: Any, answers: Answers) -> None:
        await answers.all(box.files.watch())

    with pytest.raises(BoxerProtocolError):
        with_session(kind, host, use)


@both
@pytest.mark.parametrize("body", [{}, {"id": "../run", "state": "running"}, {"id": ID}])
def test_an_answer_that_is_no_session(kind: str, host: FakeHost, body: Any) -> None:
    host.json("POST", "/sessions", 201, body)

    async def main() -> None:
        if kind == "sync":
            BoxerClient(host.url).session("i")
        else:
            await AsyncBoxerClient(host.url).session("i")

    with pytest.raises((BoxerProtocolError, ValueError)):
        asyncio.run(main())


@pytest.mark.parametrize("kind", [Session, AsyncSession])
def test_methods_show_their_arguments_in_help(kind: Any) -> None:
    assert list(inspect.signature(kind.run).parameters)[:3] == ["self", "cmd", "env"]
    assert list(inspect.signature(kind.start).parameters) == ["self", "cmd", "env", "cwd", "user", "limits", "merge_stderr", "terminal", "resume"]
    clients: List[Any] = [BoxerClient, AsyncBoxerClient]
    for client in clients:
        assert list(inspect.signature(client.session).parameters)[:3] == ["self", "image", "network"]


def test_both_clients_have_the_same_methods() -> None:
    import boxer

    for name in ("Session", "Process", "ProcessEvents", "SessionFiles", "FileStream", "FileWatch", "Connection", "BoxerClient"):
        sync = {member for member in dir(getattr(boxer, name)) if not member.startswith("_")}
        asynchronous = {member for member in dir(getattr(boxer, f"Async{name}")) if not member.startswith("_")}
        assert {"close" if member == "aclose" else member for member in asynchronous - {"open"}} == sync

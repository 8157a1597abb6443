"""Tests of sessions against a live host, as in test_host.py."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import os
import tarfile
from typing import Any, Awaitable, Callable, List

import pytest

from boxer import (
    AsyncBoxerClient,
    BoxerAPIError,
    BoxerClient,
    BoxerNotFoundError,
    BoxerSessionEndedError,
    BoxerSessionPausedError,
    BoxerTimeoutError,
    ProcessEnded,
    ProcessOutput,
    RunEnded,
    RunStarted,
    RunText,
)
from both import both

URL = os.environ.get("BOXER_URL", "")
IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")

pytestmark = pytest.mark.skipif(not URL, reason="BOXER_URL is not set: no live host to run against")

ECHO = """\
import socket
with socket.create_server(("127.0.0.1", 8000)) as listener:
    print("listening", flush=True)
    with listener.accept()[0] as connection:
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
        connection.sendall(data[::-1])
"""


async def done(value: Any) -> Any:
    """Awaits what the methods of the asynchronous client return."""
    return await value if inspect.isawaitable(value) else value


async def items(events: Any) -> List[Any]:
    return [event async for event in events] if hasattr(events, "__aiter__") else list(events)


async def first(events: Any) -> Any:
    if hasattr(events, "__aiter__"):
        async with events:
            return await events.__anext__()
    with events:
        return next(events)


def with_session(kind: str, use: Callable[[Any], Awaitable[None]], **arguments: Any) -> None:
    """Opens a session with either client and closes it after ``use``."""
    arguments = {"image": IMAGE, **arguments}

    async def asynchronous() -> None:
        async with AsyncBoxerClient() as client, client.session(**arguments) as box:
            await use(box)

    async def synchronous() -> None:
        with BoxerClient() as client, client.session(**arguments) as box:
            await use(box)

    asyncio.run(asynchronous() if kind == "async" else synchronous())


@both
def test_commands_share_the_sandbox(kind: str) -> None:
    async def use(box: Any) -> None:
        made = await done(box.run(["sh", "-c", "echo $A $B; cat; echo made >/tmp/file; exit 3"], env={"B": "b"}, stdin=b"in\n"))
        assert (made.stdout, made.exit_code, made.termination, made.left_behind) == ("a b\nin\n", 3, "exited", 0)
        read = await done(box.run(["sh", "-c", "cat /tmp/file; echo $B"]))
        assert read.stdout == "made\n\n"
        left = await done(box.run(["sh", "-c", "sleep 1000 & echo started"]))
        assert (left.stdout, left.left_behind) == ("started\n", 1)

    with_session(kind, use, env={"A": "a"}, labels={"who": "me"})


@both
def test_a_command_has_its_own_limits_and_the_session_goes_on(kind: str) -> None:
    async def use(box: Any) -> None:
        with pytest.raises(BoxerTimeoutError) as caught:
            await done(box.run(["sh", "-c", "echo so far; sleep 1000"], limits={"wall_clock_secs": 3}))
        assert caught.value.stdout == "so far\n"
        with pytest.raises(BoxerAPIError) as rejected:
            await done(box.run(["no-such-program-anywhere"]))
        assert rejected.value.status_code == 400
        assert (await done(box.run(["echo", "alive"]))).stdout == "alive\n"

    with_session(kind, use)


@both
def test_a_streamed_command(kind: str) -> None:
    async def use(box: Any) -> None:
        events = await items(box.stream(["sh", "-c", "echo out; echo err >&2; exit 5"]))
        assert isinstance(events[0], RunStarted)
        assert "".join(event.text for event in events if isinstance(event, RunText) and event.stream == "stdout") == "out\n"
        assert "".join(event.text for event in events if isinstance(event, RunText) and event.stream == "stderr") == "err\n"
        assert isinstance(events[-1], RunEnded) and events[-1].result.exit_code == 5

    with_session(kind, use)


@both
def test_a_process_reads_what_is_written(kind: str) -> None:
    async def use(box: Any) -> None:
        process = await done(box.start(["sh", "-c", "cat; printf '\\377' >&2; exit 4"]))
        await done(process.write("eingäbe\n"))
        await done(process.write(b"x" * 100_000))
        await done(process.close_stdin())
        events = await items(process)
        assert b"".join(event.data for event in events if isinstance(event, ProcessOutput) and event.stream == "stdout") == "eingäbe\n".encode() + b"x" * 100_000
        assert b"".join(event.data for event in events if isinstance(event, ProcessOutput) and event.stream == "stderr") == b"\xff"
        end = events[-1]
        assert isinstance(end, ProcessEnded)
        assert (end.termination, end.exit_code, end.left_behind) == ("exited", 4, 0)
        assert [event for event in await items(process.events(9)) if isinstance(event, ProcessOutput)][0].offset == 9
        assert (await done(process.wait())).exit_code == 4
        assert [item.info.ended is not None for item in await done(box.processes())] == [True]

    with_session(kind, use)


@both
def test_a_process_is_signalled_and_killed(kind: str) -> None:
    async def use(box: Any) -> None:
        source = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: (print('signal', flush=True), exit(6)))\nprint('ready', flush=True)\ntime.sleep(1000)"
        process = await done(box.start(["python3", "-c", source]))
        assert (await first(process.events())).data == b"ready\n"
        await done(process.signal(10))
        assert [getattr(event, "data", None) for event in await items(process.events(6))] == [b"signal\n", None]
        assert (await done(process.refresh())).ended.exit_code == 6
        other = await done(box.start(["sleep", "1000"]))
        await done(other.kill())
        end = await done(other.wait())
        assert (end.termination, end.signal, end.exit_code) == ("signaled", 9, 137)
        with pytest.raises(BoxerNotFoundError):
            await done(box.process(12345))

    with_session(kind, use)


@both
def test_a_terminal_has_the_size_that_it_is_given(kind: str) -> None:
    async def use(box: Any) -> None:
        process = await done(box.start(["sh"], terminal=(90, 20), env={"PS1": "> "}))
        await done(process.resize(100, 30))
        await done(process.write("stty size; exit 2\n"))
        events = await items(process)
        assert b"30 100" in b"".join(event.data for event in events if isinstance(event, ProcessOutput))
        assert {event.stream for event in events if isinstance(event, ProcessOutput)} == {"output"}
        assert events[-1].exit_code == 2

    with_session(kind, use)


@both
def test_files(kind: str) -> None:
    content = bytes(range(256)) * 1000

    async def use(box: Any) -> None:
        await done(box.files.mkdir("dïr"))
        await done(box.files.write("dïr/a b.bin", content, mode="0640"))
        assert await done(box.files.read("dïr/a b.bin")) == content
        info = await done(box.files.stat("dïr/a b.bin"))
        assert (info.type, info.size, info.mode) == ("file", len(content), "0640")
        assert [(file.path, file.type) for file in await done(box.files.list("dïr"))] == [("a b.bin", "file")]
        await done(box.files.move("dïr", "other"))
        assert (await done(box.run(["sh", "-c", "wc -c <'other/a b.bin'"]))).stdout.strip() == "256000"
        with tarfile.open(fileobj=io.BytesIO(await done(box.files.read_tar("other")))) as archive:
            assert [member.name.split("/")[-1] for member in archive.getmembers() if member.isfile()] == ["a b.bin"]
        with io.BytesIO() as tar:
            with tarfile.open(fileobj=tar, mode="w") as writer:
                member = tarfile.TarInfo("from-tar")
                member.size = 3
                writer.addfile(member, io.BytesIO(b"tar"))
            await done(box.files.write_tar("other", tar.getvalue()))
        assert await done(box.files.read("other/from-tar")) == b"tar"
        await done(box.files.remove("other"))
        with pytest.raises(BoxerNotFoundError):
            await done(box.files.stat("other"))

    with_session(kind, use, workspace={"path": "/workspace"})


@both
def test_files_in_pieces_and_their_changes(kind: str) -> None:
    content = os.urandom(3_000_000)

    async def use(box: Any) -> None:
        await done(box.files.mkdir("watched"))
        watch = box.files.watch("watched")
        async with watch if kind == "async" else contextlib.nullcontext():
            await done(box.files.write("watched/new", io.BytesIO(content)))
            change = await done(watch.__anext__() if kind == "async" else next(watch))
            assert (change.kind, change.path) == ("created", "new")
        await done(watch.aclose() if kind == "async" else watch.close())
        assert b"".join(await items(box.files.stream("watched/new"))) == content
        with tarfile.open(fileobj=io.BytesIO(b"".join(await items(box.files.stream_tar("watched"))))) as archive:
            assert [member.size for member in archive.getmembers() if member.isfile()] == [len(content)]
        with pytest.raises(BoxerNotFoundError):
            await items(box.files.watch("missing"))

    with_session(kind, use, cwd="/work", limits={"memory_mb": 256, "disk_mb": 64}, inputs=[{"path": "a", "content": "a"}])


@both
def test_an_archive_larger_than_an_upload(kind: str) -> None:
    content = os.urandom(15 << 20)

    async def use(box: Any) -> None:
        with io.BytesIO() as tar:
            with tarfile.open(fileobj=tar, mode="w") as writer:
                member = tarfile.TarInfo("large")
                member.size = len(content)
                writer.addfile(member, io.BytesIO(content))
            tar.seek(0)
            await done(box.files.write_tar(".", tar))
        assert (await done(box.files.stat("large"))).size == len(content)

    with_session(kind, use, limits={"memory_mb": 256, "disk_mb": 64})


@both
def test_a_connection_to_a_server_in_the_session(kind: str) -> None:
    payload = os.urandom(300_000)

    async def use(box: Any) -> None:
        process = await done(box.start(["python3", "-c", ECHO]))
        assert (await first(process.events())).data == b"listening\n"
        connection = await done(box.connect(8000))
        await done(connection.send(payload))
        await done(connection.close_write())
        received = b""
        while chunk := await done(connection.recv()):
            received += chunk
        await done(connection.close())
        assert received == payload[::-1]
        assert (await done(process.wait())).exit_code == 0
        with pytest.raises(BoxerAPIError):
            await done(box.connect(8000))

    with_session(kind, use)


@both
def test_pausing_extending_and_the_end(kind: str) -> None:
    async def use(box: Any) -> None:
        client = box._client
        await done(box.pause())
        assert (await done(box.refresh())).state == "paused"
        with pytest.raises(BoxerSessionPausedError):
            await done(box.run(["true"]))
        assert (await done(box.run(["echo", "on"], resume=True))).stdout == "on\n"
        await done(box.pause())
        await done(box.resume())
        assert (await done(box.run(["true"]))).exit_code == 0
        before = box.info.expires_at
        extended = await done(box.extend(idle_timeout=1000, lifetime=5000))
        assert extended.expires_at != before
        assert (extended.idle_timeout_secs, extended.lifetime_secs) == (1000, 5000)
        assert extended.created_at < extended.expires_at
        assert box.id in [item.id for item in await done(client.sessions())]
        await done((await done(client.session_by_id(box.id))).close())
        with pytest.raises(BoxerSessionEndedError) as caught:
            await done(box.run(["true"]))
        assert caught.value.ended == "closed"
        with pytest.raises(BoxerSessionEndedError):
            await done(client.session_by_id(box.id))
        with pytest.raises(BoxerNotFoundError):
            await done(client.session_by_id("a" * 26))

    with_session(kind, use)

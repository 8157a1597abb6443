from __future__ import annotations

import asyncio
import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from boxer import AsyncBoxerClient, BoxerClient, BoxerConnectionError, BoxerProtocolError, OutputFile, ResourceLimits
from both import both, call
from fake_host import Answer, FakeHost

OLD = {
    "exec_id": "boxer-5b0f1c52-6c57-4d0e-9a55-4d7a1f6ce7c1",
    "exit_code": 0,
    "stdout": "42\n",
    "stderr": "",
    "wall_ms": 12,
}
NEW = {
    "exec_id": "boxer-0d3c3a52-13a4-44a8-9f5e-0a4a5df5a111",
    "exit_code": 139,
    "stdout": "h\u00e9llo \ufffd",
    "stderr": "\u2028",
    "wall_ms": 31,
    "termination": "signaled",
    "signal": 11,
    "timings_ms": {"queue": 0.1, "image": 2, "sandbox": 88.5},
    "network_denied": [{"address": "169.254.169.254", "port": 80}],
    "network_incomplete": "more words",
    "error": "words",
    "stdout_base64": base64.b64encode("h\u00e9llo ".encode() + b"\xff").decode(),
    "outputs": [{"path": "output/boxer-1/a.bin", "size": 3, "mode": "0644", "modified_at": "2001-09-09T01:46:40+00:00", "content_base64": "YWJj"}, "something else"],
    "outputs_dropped": 2,
    "workspace_base64": "YWJj",
    "workspace_incomplete": "left out",
    "invented_later": {"x": [1]},
}


@both
def test_the_smallest_request(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 200, OLD)

    result = call(kind, host.url, "run", image="python:3.12-slim", cmd=["python3", "-c", "print(42)"])

    assert host.last.json == {
        "image": "python:3.12-slim",
        "cmd": ["python3", "-c", "print(42)"],
        "network": "none",
        "persist": False,
    }
    assert host.last.headers["content-type"] == "application/json"
    assert (result.exec_id, result.exit_code, result.stdout, result.stderr) == (OLD["exec_id"], 0, "42\n", "")
    assert result.wall_ms == 12
    assert (result.termination, result.signal, result.timings_ms) == (None, None, {})
    assert (result.network_denied, result.network_incomplete, result.output_files, result.raw) == ([], None, [], OLD)


@both
def test_every_request_and_response_field(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 200, NEW)

    result = call(
        kind,
        host.url,
        "run",
        image="i",
        cmd=("sh", "-c", "echo 'ü\n'"),
        env={"A": "1", "B": "x=y"},
        cwd="/job",
        limits={"cpu_cores": 0.5, "memory_mb": 64, "pids_limit": 8, "wall_clock_secs": 5, "nofile": 32, "cpu_time_secs": 2.5},
        files=["job/main.py"],
        persist=True,
        network="sandbox",
        stdin="line\n\x00",
        user="1000:1000",
        output_files="inline",
        merge_stderr=True,
        stop_grace_ms=500,
        inputs=[{"path": "a", "content": "text"}, {"path": "b", "content": b"\xff", "executable": True}],
        workspace={"path": "/w", "files": [{"path": "c", "content": b"\x00"}], "uploads": ["job"], "archive": "a.tar"},
        workspace_out=True,
        terminal=(120, 40),
    )

    assert host.last.json == {
        "image": "i",
        "cmd": ["sh", "-c", "echo 'ü\n'"],
        "env": ["A=1", "B=x=y"],
        "cwd": "/job",
        "limits": {"cpu_cores": 0.5, "memory_mb": 64, "pids_limit": 8, "wall_clock_secs": 5, "nofile": 32, "cpu_time_secs": 2.5},
        "files": ["job/main.py"],
        "persist": True,
        "network": "sandbox",
        "stdin": "line\n\x00",
        "user": "1000:1000",
        "outputs": "inline",
        "merge_stderr": True,
        "stop_grace_ms": 500,
        "inputs": [{"path": "a", "content": "text"}, {"path": "b", "content_base64": "/w==", "executable": True}],
        "workspace": {"path": "/w", "files": [{"path": "c", "content_base64": "AA=="}], "uploads": ["job"], "archive": "a.tar"},
        "workspace_out": True,
        "terminal": {"cols": 120, "rows": 40},
    }
    assert (result.exit_code, result.signal, result.termination) == (139, 11, "signaled")
    assert (result.stdout, result.stderr) == ("h\u00e9llo \ufffd", "\u2028")
    assert result.timings_ms == {"queue": 0.1, "image": 2, "sandbox": 88.5}
    assert result.network_denied == NEW["network_denied"]
    assert result.network_incomplete == "more words"
    assert result.output_files == [OutputFile("output/boxer-1/a.bin", 3, b"abc", "0644", "2001-09-09T01:46:40+00:00")]
    assert result.output_files_dropped == 2
    assert (result.workspace, result.workspace_incomplete) == (b"abc", "left out")
    assert result.error == "words"
    assert result.stdout_bytes == "h\u00e9llo ".encode() + b"\xff"
    assert result.stderr_bytes == "\u2028".encode()
    assert result.raw["invented_later"] == {"x": [1]}
    assert "invented_later" not in repr(result)


@both
def test_limits_as_an_object_and_env_as_a_list(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 200, OLD)
    call(kind, host.url, "run", "i", ["c"], limits=ResourceLimits(memory_mb=64), env=["A=1", "A=2"])
    assert host.last.json["limits"] == {"memory_mb": 64}
    assert host.last.json["env"] == ["A=1", "A=2"]


@both
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"cmd": "echo hi"}, TypeError, "cmd: must be a list of strings, not one str"),
        ({"cmd": ["echo", 1]}, TypeError, "cmd: must contain strings only, not int"),
        ({"files": "job/main.py"}, TypeError, "files: must be a list of strings, not one str"),
        ({"env": "A=1"}, TypeError, "env: must be a list of strings, not one str"),
        ({"env": {"A": 1}}, TypeError, "env: name and value of 'A' must be strings"),
        ({"env": {"A=B": "1"}}, ValueError, "env: the name 'A=B' must not contain '='"),
        ({"limits": {"wall_clock_sec": 1}}, ValueError, "'wall_clock_sec'; did you mean 'wall_clock_secs'"),
        ({"limits": {"cpu_cores": float("nan")}}, ValueError, "Out of range float"),
        ({"stdin": "\udcff"}, UnicodeEncodeError, "surrogates not allowed"),
    ],
)
def test_arguments_that_cannot_be_sent(kind: str, host: FakeHost, arguments: Any, error: Any, words: str) -> None:
    for method in ("run", "stream"):
        with pytest.raises(error, match=words):
            if method == "run":
                call(kind, host.url, "run", **{"image": "i", "cmd": ["c"], **arguments})
            else:
                client: Any = (BoxerClient if kind == "sync" else AsyncBoxerClient)(host.url)
                client.stream(**{"image": "i", "cmd": ["c"], **arguments})
    assert host.requests == []


@both
@pytest.mark.parametrize("missing", ["exec_id", "exit_code", "stdout", "stderr", "wall_ms"])
def test_a_response_without_a_field_of_the_contract(kind: str, host: FakeHost, missing: str) -> None:
    host.json("POST", "/run", 200, {name: value for name, value in OLD.items() if name != missing})
    with pytest.raises(BoxerProtocolError, match=missing):
        call(kind, host.url, "run", "i", ["c"])


@both
@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b"\xff"])
def test_a_response_that_is_not_a_json_object(kind: str, host: FakeHost, body: bytes) -> None:
    host.answers["POST", "/run"] = Answer(200, body)
    with pytest.raises(BoxerProtocolError, match="not JSON"):
        call(kind, host.url, "run", "i", ["c"])


@both
def test_a_run_may_take_longer_than_the_default_timeout_of_httpx(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 200, OLD)
    host.answers["POST", "/run"].delay = 5.5
    assert call(kind, host.url, "run", "i", ["c"]).exit_code == 0


@both
def test_a_silent_host(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 200, OLD)
    host.answers["POST", "/run"].delay = 1
    with pytest.raises(BoxerConnectionError, match=r"POST .*/run: the host was silent for 0\.1 s"):
        call(kind, host.url, "run", "i", ["c"], settings={"timeout": 0.1})


@both
def test_an_unreachable_host(kind: str, host: FakeHost) -> None:
    with FakeHost() as gone:
        url = gone.url
    with pytest.raises(BoxerConnectionError, match=f"POST {url}/run: "):
        call(kind, url, "run", "i", ["c"])


def test_threads_share_a_client(host: FakeHost) -> None:
    host.json("POST", "/run", 200, OLD)
    with BoxerClient(host.url) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.run(f"image-{number}", ["c"]), range(32)))
    assert {request.json["image"] for request in host.requests} == {f"image-{number}" for number in range(32)}


def test_tasks_share_a_client_and_more_runs_than_connections_wait(host: FakeHost) -> None:
    host.json("POST", "/run", 200, OLD)

    async def main() -> int:
        async with AsyncBoxerClient(host.url) as client:
            return len(await asyncio.gather(*(client.run("i", ["c"]) for _ in range(150))))

    assert asyncio.run(main()) == 150
    assert len(host.requests) == 150


def test_a_cancelled_run_closes_its_connection(host: FakeHost) -> None:
    host.answers["POST", "/run"] = Answer(200, [b"x" * 65536] * 400, delay=0.3)

    async def main() -> None:
        async with AsyncBoxerClient(host.url) as client:
            task = asyncio.ensure_future(client.run("i", ["c"]))
            while not host.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert host.client_left.wait(10)


@both
def test_egress_is_sent_unchanged(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 200, OLD)
    call(kind, host.url, "run", image="i", cmd=["a"], network="sandbox", egress={"allow": ["pypi.org:443"], "quota_bytes": 5})
    assert host.last.json["egress"] == {"allow": ["pypi.org:443"], "quota_bytes": 5}

"""Tests against a live host at $BOXER_URL. $BOXER_IMAGE is an image with python3; $BOXER_API_KEY is the API key, if the host needs one."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from boxer import (
    AsyncBoxerClient,
    BoxerAPIError,
    BoxerClient,
    BoxerOutputLimitError,
    BoxerTimeoutError,
    OutputFile,
    ResourceLimits,
    RunEnded,
    RunEvent,
    RunStarted,
    RunText,
)
from both import both, call, stream

ROOT = Path(__file__).resolve().parent.parent
URL = os.environ.get("BOXER_URL", "")
IMAGE = os.environ.get("BOXER_IMAGE", "python:3.12-slim")

pytestmark = pytest.mark.skipif(not URL, reason="BOXER_URL is not set: no live host to run against")


@pytest.fixture
def client() -> Iterator[BoxerClient]:
    with BoxerClient() as client:
        yield client


def python(source: str) -> List[str]:
    return ["python3", "-c", source]


@both
def test_health(kind: str) -> None:
    assert call(kind, URL, "health")["ok"] is True


@both
def test_a_run(kind: str) -> None:
    result = call(kind, URL, "run", IMAGE, python("import sys; print(42); sys.stderr.write('no'); sys.exit(7)"))
    assert (result.exit_code, result.stdout, result.stderr) == (7, "42\n", "no")
    assert re.fullmatch(r"boxer-[0-9a-f-]{36}", result.exec_id)
    assert result.wall_ms >= 0
    assert result.termination == "exited"
    assert result.signal is None
    assert result.timings_ms
    assert set(result.raw) >= {"exec_id", "exit_code", "stdout", "stderr", "wall_ms"}


def test_every_argument_arrives(client: BoxerClient) -> None:
    source = (
        "import os, sys, resource, json; print(json.dumps([os.getcwd(), os.environ['A'], os.environ['B'], sys.stdin.read(),"
        " os.getuid(), os.getgid(), resource.getrlimit(resource.RLIMIT_NOFILE)[0], open('/job/données.txt').read()]))"
    )
    path = client.upload_file("job/données.txt", "inhalt")
    result = client.run(
        IMAGE,
        python(source),
        env={"A": "1", "B": "x=ü"},
        cwd="/tmp",
        limits=ResourceLimits(cpu_cores=0.5, memory_mb=128, pids_limit=16, wall_clock_secs=20, nofile=99),
        files=[path],
        network="none",
        stdin="eingäbe",
        user="1234:2345",
    )
    assert result.stderr == ""
    assert result.stdout == '["/tmp", "1", "x=\\u00fc", "eing\\u00e4be", 1234, 2345, 99, "inhalt"]\n'


def test_a_signal(client: BoxerClient) -> None:
    result = client.run(IMAGE, python("import os; os.kill(os.getpid(), 11)"))
    assert (result.exit_code, result.termination, result.signal) == (139, "signaled", 11)


def test_bytes_that_are_not_utf_8(client: BoxerClient) -> None:
    result = client.run(IMAGE, python("import os; os.write(1, b'a\\xffb')"))
    assert (result.stdout, result.stdout_bytes) == ("a\ufffdb", b"a\xffb")
    assert result.stderr_bytes == b""


@both
def test_the_wall_clock_limit_keeps_the_output(kind: str) -> None:
    source = "import time; print('so far', flush=True); time.sleep(600)"
    with pytest.raises(BoxerTimeoutError) as caught:
        call(kind, URL, "run", IMAGE, python(source), limits={"wall_clock_secs": 5})
    assert caught.value.status_code == 408
    assert caught.value.stdout == "so far\n"
    assert (caught.value.exec_id or "").startswith("boxer-")


@both
def test_the_cpu_time_limit_and_usage(kind: str) -> None:
    source = "print('so far', flush=True)\nwhile True: pass"
    result = call(kind, URL, "run", IMAGE, python(source), limits=ResourceLimits(cpu_time_secs=2))
    assert (result.termination, result.exit_code, result.stdout) == ("cpu_time_limit", 137, "so far\n")
    assert "cpu-time limit of 2 s" in (result.error or "")
    assert result.usage["cpu_ms"] >= 2000
    assert result.usage["peak_memory_bytes"] > 1 << 20
    assert result.usage["max_rss_bytes"] > 1 << 20


@both
def test_the_output_limit(kind: str) -> None:
    with pytest.raises(BoxerOutputLimitError) as caught:
        call(kind, URL, "run", IMAGE, python("while True: print('x' * 65535)"))
    assert caught.value.status_code == 507
    assert caught.value.stdout.startswith("xxx")


def test_the_memory_limit_is_a_result(client: BoxerClient) -> None:
    result = client.run(IMAGE, python("b = bytearray(1 << 30); b[::4096] = b'1' * (1 << 18)"), limits={"memory_mb": 96})
    assert (result.exit_code, result.termination) == (137, "memory_limit")
    assert result.error


@pytest.mark.parametrize(
    ("arguments", "statuses"),
    [
        ({"cmd": []}, {400}),
        ({"cmd": ["no-such-command-anywhere"]}, {400}),
        ({"image": "127.0.0.1:1/no/such:image"}, {400, 403, 404, 500, 502}),
        ({"network": "carrier-pigeon"}, {400}),
        ({"files": ["never/uploaded"]}, {400}),
        ({"limits": {"memory_mb": -1}}, {400}),
        ({"cwd": "relative"}, {400}),
        ({"env": ["no equals sign"]}, {400}),
    ],
)
def test_rejected_requests(client: BoxerClient, arguments: Any, statuses: Any) -> None:
    for method in ("run", "stream"):
        with pytest.raises(BoxerAPIError) as caught:
            answer: Any = getattr(client, method)(**{"image": IMAGE, "cmd": ["true"], **arguments})
            list(answer)
        assert caught.value.status_code in statuses
        assert caught.value.message


@both
def test_upload_and_download(kind: str, tmp_path: Path) -> None:
    path, content = f"test/{uuid.uuid4()}/a b.bin", os.urandom(100_000)
    local = tmp_path / "local"
    local.write_bytes(content)
    assert call(kind, URL, "upload_path", local, path) == path
    assert call(kind, URL, "download_file", path) == content
    assert call(kind, URL, "upload_file", path, b"") == path
    assert call(kind, URL, "download_file", path) == b""


@both
def test_missing_files(kind: str) -> None:
    with pytest.raises(BoxerAPIError) as caught:
        call(kind, URL, "download_file", f"test/{uuid.uuid4()}")
    assert caught.value.status_code == 404
    for path in ("/absolute", "../up", "output/mine", "a\0b"):
        with pytest.raises(BoxerAPIError) as caught:
            call(kind, URL, "upload_file", path, b"")
        assert caught.value.status_code == 400


@both
def test_a_workspace_is_written_and_returned(kind: str) -> None:
    with io.BytesIO() as tar:
        with tarfile.open(fileobj=tar, mode="w:gz") as writer:
            member = tarfile.TarInfo("run.sh")
            content = b"#!/bin/sh\ncat src/a up/b; echo new >made; rm src/a\n"
            member.mode, member.size = 0o755, len(content)
            writer.addfile(member, io.BytesIO(content))
        call(kind, URL, "upload_file", "tree.tar.gz", tar.getvalue())
    call(kind, URL, "upload_file", "up/b", "of an upload\n")
    workspace = {"files": [{"path": "src/a", "content": b"of the request\n"}], "uploads": ["up/"], "archive": "tree.tar.gz"}

    result = call(kind, URL, "run", IMAGE, ["./run.sh"], workspace=workspace, workspace_out=True)

    assert (result.stdout, result.stderr, result.exit_code) == ("of the request\nof an upload\n", "", 0)
    assert result.workspace is not None and result.workspace_incomplete is None
    with tarfile.open(fileobj=io.BytesIO(result.workspace)) as reader:
        assert [(entry.name, entry.isdir()) for entry in reader.getmembers() if not entry.isdir()] == [("made", False)]


@both
def test_outputs_are_kept_only_on_request(kind: str) -> None:
    source = "open('/output/a.bin', 'wb').write(bytes(range(256)))"
    kept = call(kind, URL, "run", IMAGE, python(source), persist=True)
    assert kept.exit_code == 0, kept.stderr
    assert kept.output_files == [OutputFile(f"output/{kept.exec_id}/a.bin", 256, None, "0644", kept.output_files[0].modified_at)]
    assert call(kind, URL, "download_file", kept.output_files[0].path) == bytes(range(256))

    dropped = call(kind, URL, "run", IMAGE, python(source))
    assert (dropped.output_files, dropped.output_files_dropped) == ([], 1)
    inline = call(kind, URL, "run", IMAGE, python(source), output_files="inline")
    assert [(file.path, file.content) for file in inline.output_files] == [("a.bin", bytes(range(256)))]
    with pytest.raises(BoxerAPIError) as caught:
        call(kind, URL, "download_file", f"output/{dropped.exec_id}/a.bin")
    assert caught.value.status_code == 404


@both
def test_streaming(kind: str) -> None:
    source = "import sys, time; print('one', flush=True); time.sleep(0.3); sys.stderr.write('zwö'); sys.exit(5)"
    seen: List[RunEvent] = []

    result = stream(kind, URL, seen, image=IMAGE, cmd=python(source))

    first, last = seen[0], seen[-1]
    assert isinstance(first, RunStarted)
    assert isinstance(last, RunEnded) and last.result is result
    assert result.exec_id == first.exec_id
    assert (result.exit_code, result.stdout, result.stderr) == (5, "one\n", "zwö")
    printed = [event for event in seen if isinstance(event, RunText)]
    assert "".join(event.text for event in printed if event.stream == "stdout") == "one\n"
    assert "".join(event.text for event in printed if event.stream == "stderr") == "zwö"


@both
def test_a_stream_that_reaches_the_wall_clock_limit(kind: str) -> None:
    source = "import time; print('so far', flush=True); time.sleep(600)"
    seen: List[RunEvent] = []
    with pytest.raises(BoxerTimeoutError) as caught:
        stream(kind, URL, seen, image=IMAGE, cmd=python(source), limits={"wall_clock_secs": 5})
    assert "".join(event.text for event in seen if isinstance(event, RunText)) == "so far\n"
    assert caught.value.stdout == "so far\n"


def test_runs_at_once_are_not_mixed_up() -> None:
    async def main() -> List[str]:
        async with AsyncBoxerClient() as client:
            runs = (client.run(IMAGE, python(f"print({number})")) for number in range(8))
            return [result.stdout for result in await asyncio.gather(*runs)]

    assert asyncio.run(main()) == [f"{number}\n" for number in range(8)]


SESSION_OUTPUT = r"""files: server\.py
server: ProcessOutput\(offset=0, stream='stdout', data=b'listening\\n'\)
answer: b'HELLO'
terminal: b'30 100\\r\\n'
terminal ended with exit code 3
"""


@pytest.mark.parametrize(
    ("name", "stdout", "stderr"),
    [
        ("hello_none", r"exit code 0, stdout '42\\n'\n", ""),
        ("limits_dict", r"open files: 64\nended with status 408 after it printed 'started\\n'\n", ""),
        ("upload_and_run", r"6 words, the longest is untrusted\n", ""),
        ("download_output", r"squares\.bin: 16 bytes \[0, 1, 4, 9, 16, 25\] \.\.\.\n", ""),
        ("streaming", r"started boxer-\S+\nstep 0\nstep 1\nstep 2\nended with exit code 1\n", "no step 3\n"),
        ("async_many", r"\[0, 1, 4, 9, 16, 25, 36, 49\]\n", ""),
        ("session", SESSION_OUTPUT, ""),
    ],
)
def test_examples(name: str, stdout: str, stderr: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        env={**os.environ, "BOXER_IMAGE": IMAGE, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(stdout, done.stdout), done.stdout
    assert done.stderr == stderr


def test_every_example_is_run() -> None:
    run = {parameters[0] for mark in test_examples.pytestmark for parameters in mark.args[1]}  # type: ignore[attr-defined]
    assert run == {file.stem for file in (ROOT / "examples").glob("*.py")}

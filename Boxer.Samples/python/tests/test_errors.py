from __future__ import annotations

import email.utils
import time
from typing import Any, Callable, List

import pytest

from boxer import (
    BoxerAPIError,
    BoxerCapacityError,
    BoxerNotFoundError,
    BoxerOutputLimitError,
    BoxerTimeoutError,
)
from both import both, call, stream
from fake_host import Answer, FakeHost

TIMEOUT = {
    "error": "the command reached its wall-clock limit of 1 s",
    "exec_id": "boxer-9b0e7c9e-2a4c-4a67-8f7c-6a1d3b1f5f01",
    "stdout": "so far\n",
    "stderr": "warning\n",
    "termination": "wall_clock_limit",
}


@both
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, BoxerAPIError),
        (401, BoxerAPIError),
        (403, BoxerAPIError),
        (404, BoxerNotFoundError),
        (408, BoxerTimeoutError),
        (413, BoxerAPIError),
        (429, BoxerCapacityError),
        (500, BoxerAPIError),
        (502, BoxerAPIError),
        (507, BoxerOutputLimitError),
    ],
)
def test_each_status_of_the_contract(kind: str, host: FakeHost, status: int, expected: Any) -> None:
    body = {"error": f"words for {status}"}
    host.json("POST", "/run", status, body)
    host.json("POST", "/run/stream", status, body)
    host.json("POST", "/files", status, body)
    host.json("GET", "/files", status, body)

    attempts: List[Callable[[], Any]] = [
        lambda: call(kind, host.url, "run", "i", ["c"]),
        lambda: stream(kind, host.url, [], image="i", cmd=["c"]),
        lambda: call(kind, host.url, "upload_file", "a", b""),
        lambda: call(kind, host.url, "download_file", "a"),
    ]
    for attempt in attempts:
        with pytest.raises(BoxerAPIError) as caught:
            attempt()
        assert type(caught.value) is expected
        assert caught.value.status_code == status
        assert str(caught.value) == f"HTTP {status}: words for {status}"
        assert (caught.value.exec_id, caught.value.stdout, caught.value.stderr) == (None, "", "")
        assert caught.value.raw == body


@both
def test_an_error_has_the_output_of_the_run(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 408, TIMEOUT)
    with pytest.raises(BoxerTimeoutError) as caught:
        call(kind, host.url, "run", "i", ["c"])
    assert caught.value.exec_id == TIMEOUT["exec_id"]
    assert (caught.value.stdout, caught.value.stderr) == ("so far\n", "warning\n")
    assert caught.value.raw["termination"] == "wall_clock_limit"


@both
@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("soon", None), ("-1", None), ("", None)])
def test_retry_after(kind: str, host: FakeHost, value: str, seconds: Any) -> None:
    host.json("POST", "/run", 429, {"error": "256 runs wait"}, Retry_After=value)
    with pytest.raises(BoxerCapacityError) as caught:
        call(kind, host.url, "run", "i", ["c"])
    assert caught.value.retry_after == seconds


@both
def test_retry_after_as_a_date(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 429, {}, Retry_After=email.utils.formatdate(time.time() + 100, usegmt=True))
    with pytest.raises(BoxerCapacityError) as caught:
        call(kind, host.url, "run", "i", ["c"])
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 100


@both
def test_an_error_of_a_proxy(kind: str, host: FakeHost) -> None:
    host.answers["POST", "/run"] = Answer(502, b"<html>Bad gateway</html>" + b" " * 5000 + b"end", {})
    with pytest.raises(BoxerAPIError, match="HTTP 502: '<html>Bad gateway</html>'") as caught:
        call(kind, host.url, "run", "i", ["c"])
    assert caught.value.raw == {}
    host.answers["POST", "/run"] = Answer(503, b"", {})
    with pytest.raises(BoxerAPIError, match="HTTP 503: an empty body"):
        call(kind, host.url, "run", "i", ["c"])


@both
def test_a_redirect_is_not_followed_with_the_key(kind: str, host: FakeHost) -> None:
    host.answers["POST", "/run"] = Answer(307, b"", {"Location": host.url + "/elsewhere"})
    with pytest.raises(BoxerAPIError, match="HTTP 307: redirect to .*/elsewhere not followed"):
        call(kind, host.url, "run", "i", ["c"], settings={"api_key": "sesame"})
    assert [request.path for request in host.requests] == ["/run"]


@both
def test_fields_of_the_wrong_type_do_not_hide_the_error(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 500, {"error": None, "stdout": 1, "stderr": [], "exec_id": {}})
    with pytest.raises(BoxerAPIError, match="HTTP 500: ") as caught:
        call(kind, host.url, "run", "i", ["c"])
    assert (caught.value.exec_id, caught.value.stdout, caught.value.stderr) == (None, "", "")


@both
def test_an_error_has_usage_and_output_of_the_run(kind: str, host: FakeHost) -> None:
    host.json("POST", "/run", 408, {**TIMEOUT, "stdout": "\ufffd", "stdout_base64": "/w==", "usage": {"peak_memory_bytes": 7}})

    with pytest.raises(BoxerTimeoutError) as caught:
        call(kind, host.url, "run", "i", ["c"])

    assert (caught.value.termination, caught.value.usage) == ("wall_clock_limit", {"peak_memory_bytes": 7})
    assert (caught.value.stdout_bytes, caught.value.stderr_bytes) == (b"\xff", b"warning\n")


def test_an_error_without_a_run_has_no_usage() -> None:
    error = BoxerAPIError(400, "bad", raw={"usage": 1, "termination": 2})
    assert (error.termination, error.usage, error.stdout_bytes) == (None, {}, b"")

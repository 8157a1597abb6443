from __future__ import annotations

import inspect
import os
import stat
from pathlib import Path
from typing import Any, Optional

import httpx
import pytest

from boxer import AsyncBoxerClient, BoxerClient
from boxer._wire import Settings, run_body, run_call
from both import both, call
from fake_host import FakeHost


def read_timeout(limits: Any, timeout: Optional[float] = None) -> Optional[float]:
    settings = Settings.resolve("http://localhost:1", None, timeout)
    run = run_call(settings, "/run", run_body("i", ["c"], limits=limits))
    assert run.timeout is not None
    return run.timeout.read


def test_the_address_comes_from_argument_environment_or_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOXER_URL", raising=False)
    assert repr(BoxerClient()) == "BoxerClient('http://localhost:8080')"
    monkeypatch.setenv("BOXER_URL", "http://127.0.0.1:1")
    assert repr(BoxerClient()) == "BoxerClient('http://127.0.0.1:1')"
    assert repr(AsyncBoxerClient("https://b.example/boxer")) == "AsyncBoxerClient('https://b.example/boxer')"


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "http://", "http://h/?a=1", "http://h:notaport"])
def test_an_invalid_address_is_rejected(url: str) -> None:
    with pytest.raises(ValueError, match="base_url: "):
        BoxerClient(url)


def test_a_password_in_the_address_is_rejected_and_not_shown() -> None:
    with pytest.raises(ValueError, match="use api_key") as caught:
        BoxerClient("http://user:hunter2@localhost:8080")
    assert "hunter2" not in str(caught.value)


@both
def test_the_key_is_sent_as_a_bearer_token(kind: str, host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    call(kind, host.url, "health")
    assert "authorization" not in host.last.headers

    monkeypatch.setenv("BOXER_API_KEY", "from-environment\n")
    call(kind, host.url, "health")
    assert host.last.headers["authorization"] == "Bearer from-environment"

    call(kind, host.url, "health", settings={"api_key": "from-argument"})
    assert host.last.headers["authorization"] == "Bearer from-argument"

    call(kind, host.url, "health", settings={"api_key": ""})
    assert "authorization" not in host.last.headers


@both
def test_netrc_does_not_replace_the_key(kind: str, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("NETRC", str(netrc))

    call(kind, host.url, "health", settings={"api_key": "mine"})

    assert host.last.headers["authorization"] == "Bearer mine"


@pytest.mark.parametrize("client", [BoxerClient, AsyncBoxerClient])
def test_the_key_is_never_shown(client: Any) -> None:
    made = client("http://localhost:1", api_key="sesame")
    assert "sesame" not in repr(made) + repr(vars(made)) + repr(vars(made._http))

    for bad in ("ses\name", "sésame", "open sesame"):
        with pytest.raises(ValueError, match="api_key: ") as caught:
            client("http://localhost:1", api_key=bad)
        assert bad not in str(caught.value)


def test_the_read_timeout_follows_the_wall_clock_limit() -> None:
    assert read_timeout(None) is None
    assert read_timeout({"memory_mb": 64}) is None
    assert read_timeout({"wall_clock_secs": 0}) is None
    assert read_timeout({"wall_clock_secs": 3600}) == 3600 + 60 + 600 + 30 + 30
    assert read_timeout({"wall_clock_secs": 3600}, timeout=5) == 5
    assert read_timeout({"wall_clock_secs": 3600}, timeout=float("inf")) is None


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_an_invalid_timeout_is_rejected(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout: "):
        BoxerClient("http://localhost:1", timeout=timeout)


@both
def test_an_address_may_have_a_path(kind: str, host: FakeHost) -> None:
    host.json("GET", "/behind/proxy/healthz", 200, {"ok": True})
    assert call(kind, host.url + "/behind/proxy/", "health") == {"ok": True}


def test_a_custom_transport_is_used() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"ok": True, "pid": os.getpid()})

    with BoxerClient("http://localhost:1", transport=httpx.MockTransport(answer)) as client:
        assert client.health() == {"ok": True, "pid": os.getpid()}


@pytest.mark.parametrize("client", [BoxerClient, AsyncBoxerClient])
@pytest.mark.parametrize("method", ["run", "stream"])
def test_run_and_stream_show_their_arguments_in_help(client: Any, method: str) -> None:
    signature = inspect.signature(getattr(client, method))
    assert list(signature.parameters)[:3] == ["self", "image", "cmd"]
    assert signature.parameters["network"].default == "none"


@both
def test_an_unknown_argument_is_a_type_error(kind: str, host: FakeHost) -> None:
    with pytest.raises(TypeError, match="unknown"):
        call(kind, host.url, "run", "image", ["command"], unknown=1)

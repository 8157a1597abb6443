from __future__ import annotations

from typing import Iterator

import pytest

from fake_host import FakeHost


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    for name in ("BOXER_URL", "BOXER_API_KEY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with FakeHost() as host:
        yield host

"""Helpers that run each test with both clients."""

from __future__ import annotations

import asyncio
from typing import Any, List

import pytest

from boxer import AsyncBoxerClient, BoxerClient, RunEvent

both = pytest.mark.parametrize("kind", ["sync", "async"])


def call(kind: str, url: str, method: str, *args: Any, settings: Any = None, **kwargs: Any) -> Any:
    """Calls a method of a new client and returns its result."""
    if kind == "sync":
        with BoxerClient(url, **(settings or {})) as client:
            return getattr(client, method)(*args, **kwargs)

    async def main() -> Any:
        async with AsyncBoxerClient(url, **(settings or {})) as client:
            return await getattr(client, method)(*args, **kwargs)

    return asyncio.run(main())


def stream(kind: str, url: str, seen: List[RunEvent], *, settings: Any = None, **kwargs: Any) -> Any:
    """Adds the events of a stream to ``seen`` as they arrive, and returns the stream's result."""
    if kind == "sync":
        with BoxerClient(url, **(settings or {})) as client, client.stream(**kwargs) as events:
            for event in events:
                seen.append(event)
            return events.result

    async def main() -> Any:
        async with AsyncBoxerClient(url, **(settings or {})) as client:
            async with client.stream(**kwargs) as events:
                async for event in events:
                    seen.append(event)
                return events.result

    return asyncio.run(main())

"""The streams of both clients: each is an iterator, and a context manager that closes its connection."""

from __future__ import annotations

from types import TracebackType
from typing import Any, AsyncGenerator, Generator, Generic, Optional, Type, TypeVar

T = TypeVar("T")
S = TypeVar("S", bound="Stream[Any]")
A = TypeVar("A", bound="AsyncStream[Any]")


class Stream(Generic[T]):
    """Items that are read while they are iterated. Leaving ``with`` closes the connection."""

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items

    def __iter__(self: S) -> S:
        return self

    def __next__(self) -> T:
        return next(self._items)

    def close(self) -> None:
        """Closes the connection."""
        self._items.close()

    def __enter__(self: S) -> S:
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self.close()


class AsyncStream(Generic[T]):
    """The asynchronous version of :class:`Stream`."""

    def __init__(self, items: AsyncGenerator[T, None]) -> None:
        self._items = items

    def __aiter__(self: A) -> A:
        return self

    async def __anext__(self) -> T:
        return await self._items.__anext__()

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._items.aclose()

    async def __aenter__(self: A) -> A:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        await self.aclose()

from __future__ import annotations

from typing import Iterator, List, NamedTuple


class ServerSentEvent(NamedTuple):
    name: str
    data: str
    id: str


class EventDecoder:
    """
    Decodes server-sent events (HTML standard, section 9.2). It works on bytes, because httpx's line decoder also splits at
    characters such as U+2028, which JSON may contain.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._name = ""
        self._data: List[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yields the events that end in this chunk. Comments are not events, but the empty line after one yields an event without a name."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._line += chunk[start:end]
            start = end + 1
            line = self._line.decode("utf-8", "replace")
            self._line.clear()
            line = line[:-1] if line.endswith("\r") else line
            if line:
                self._field(line)
                continue
            yield ServerSentEvent(self._name, "\n".join(self._data), self._id)
            self._name = ""
            self._data = []
        self._line += chunk[start:]

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value

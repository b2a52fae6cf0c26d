"""What a session says, in a few digests: whether two exports hold the same, and where they differ. No I/O."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from bson import json_util

from ..session_lines import Line, read_lines

__all__ = ["Fingerprint"]

_DATES = ("created_at", "updated_at")
_NOT_COMPARED = {
    # Where the source has no date, an import has one.
    "agent": _DATES,
    "graph": _DATES,
    # The position here, of the older layout it may be anything; and where large values lie.
    "message": ("message_id", "external"),
}


class Fingerprint:
    """Digests of the session itself, of each agent and graph, and of the feedback.

    Attributes:
        messages: How many messages were read.
    """

    def __init__(self) -> None:
        """Nothing was read yet."""
        self.messages = 0
        self._digests: dict[str, Any] = {}
        self._about = ""

    def of(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines, read on the way.

        Raises:
            ValueError: A line is damaged or missing.
        """
        passed: deque[str] = deque()

        def noted() -> Iterator[str]:
            for line in lines:
                passed.append(line)
                yield line

        for line in read_lines(noted()):
            self._add(line)
            while passed:
                yield passed.popleft()
        yield from passed

    def differences(self, other: Fingerprint) -> list[str]:
        """What differs, by name."""
        names = sorted({*self._digests, *other._digests})
        return [name for name in names if self._digest(name) != other._digest(name)]

    def _digest(self, name: str) -> str:
        digest = self._digests.get(name)
        return "" if digest is None else str(digest.hexdigest())

    def _add(self, line: Line) -> None:
        if line.kind == "message":
            self.messages += 1
        else:
            self._about = _about(line)
        fields = line.fields["stored"] if line.kind == "message" else line.fields
        left = {name: value for name, value in fields.items() if name not in _ignored(line)}
        text = json_util.dumps({"kind": line.kind, "fields": left}, sort_keys=True)
        self._digests.setdefault(self._about, hashlib.sha256()).update(text.encode())


def _about(line: Line) -> str:
    if line.kind in ("agent", "graph"):
        return f"{line.kind} {line.fields['agent_id']!r}"
    return line.kind


def _ignored(line: Line) -> tuple[str, ...]:
    # A rolling expiry begins anew with the import.
    if line.kind == "session" and line.fields["lifetime"] is not None:
        return ("sum", "updated_at")
    return ("sum", *_NOT_COMPARED.get(line.kind, ()))

"""What the applications of a storm said of each turn, in files that outlive them.

An application appends a line when it begins a turn, and one when it knows what became of it. What it wrote is there
however it ends; a turn without a second line is one that nobody was told about.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

__all__ = ["Ledger", "Outcome", "Pen", "Turn"]

Outcome: TypeAlias = Literal["acknowledged", "busy", "conflict", "taken back", "failed"]


@dataclass
class Turn:
    """One turn, as the application that took it tells.

    Attributes:
        session_id: Where.
        text: Unique; every message of the turn repeats it.
        calls_tool: Whether its model calls the tool.
        application: Who took it.
        begun: When, on the monotonic clock, which all processes of a machine share.
        ended: When the application knew the outcome.
        outcome: ``None`` when the application never knew.
        error: The names of the errors, outermost first.
    """

    session_id: str
    text: str
    calls_tool: bool
    application: str
    begun: float
    ended: float | None = None
    outcome: Outcome | None = None
    error: str = ""


class Pen:
    """Writes one application's lines."""

    def __init__(self, folder: Path, application: str) -> None:
        self._file = os.open(folder / f"{application}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, kind: str, **fields: Any) -> None:
        """One line, in one call to the kernel: it is there whole, or not at all."""
        os.write(self._file, json.dumps({"kind": kind, "at": time.monotonic(), **fields}).encode() + b"\n")


@dataclass
class Ledger:
    """All that was written so far in a folder.

    Attributes:
        turns: By text.
        wrong: What an application itself found wrong.
        largest_gap: The longest that any event loop went without a beat, in seconds.
        blocked: Where event loops stood that waited for a database call.
    """

    folder: Path
    turns: dict[str, Turn] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    largest_gap: float = 0.0
    blocked: list[str] = field(default_factory=list)
    _read: dict[Path, int] = field(default_factory=dict)
    _sessions: dict[str, list[Turn]] = field(default_factory=dict)
    _acknowledged: list[Turn] = field(default_factory=list)

    def refresh(self) -> None:
        """Read on from where the last call ended."""
        for path in self.folder.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                complete = file.read().rpartition(b"\n")[0]
            if complete:
                self._read[path] = self._read.get(path, 0) + len(complete) + 1
                for line in complete.split(b"\n"):
                    self._take(json.loads(line), path.stem)

    def of_session(self, session_id: str) -> list[Turn]:
        """Its turns, in the order of their begin as far as one application goes."""
        return self._sessions.get(session_id, [])

    def session_ids(self) -> list[str]:
        """Every session of which a turn was begun."""
        return list(self._sessions)

    def acknowledged(self, since: int = 0) -> list[Turn]:
        """Those that were, in the order in which this ledger learnt of it, from the n-th on."""
        return self._acknowledged[since:]

    def _take(self, line: dict[str, Any], application: str) -> None:
        if line["kind"] == "begun":
            turn = Turn(line["session_id"], line["text"], line["calls_tool"], application, begun=line["at"])
            self.turns[turn.text] = turn
            self._sessions.setdefault(turn.session_id, []).append(turn)
        elif line["kind"] == "ended":
            turn = self.turns[line["text"]]
            turn.ended, turn.outcome, turn.error = line["at"], line["outcome"], line["error"]
            if turn.outcome == "acknowledged":
                self._acknowledged.append(turn)
        elif line["kind"] == "wrong":
            self.wrong.append(f"{application}: {line['what']}")
        elif line["kind"] == "loop":
            self.largest_gap = max(self.largest_gap, line["gap"])
            self.blocked += line["blocked"]

"""What the doctor found. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["DoctorReport", "Finding", "Kind"]

Kind: TypeAlias = Literal[
    "deletion", "garbage", "missing", "turn", "tool_use", "tool_pair", "message_count", "references", "message_ids"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be. Its text is one line.

    Attributes:
        session_id: Whose it is, ``None`` for what belongs to no session any more.
        agent_id: The agent or graph, ``None`` for what concerns the session as a whole.
        kind: What it is; ``docs/operations.md`` has a line for each.
        detail: The same for people: counts and positions, and no message content.
        repaired: Whether it was mended.
    """

    session_id: str | None
    agent_id: str | None
    kind: Kind
    detail: str
    repaired: bool = False

    def __str__(self) -> str:
        session = "no session" if self.session_id is None else f"session {self.session_id!r}"
        agent = "" if self.agent_id is None else f", agent {self.agent_id!r}"
        return f"{self.kind}: {session}{agent}: {self.detail}{' (mended)' if self.repaired else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """What was examined and found. Its text has a line for each finding, and one that sums up.

    Attributes:
        sessions: How many sessions were examined.
        documents: How many documents of the archive were examined.
        young: How many documents of the archive nobody lists yet and may be on their way; they were left alone.
        findings: What is or was not as it should be.
    """

    sessions: int
    documents: int
    young: int
    findings: tuple[Finding, ...]

    @property
    def repaired(self) -> int:
        """How many findings were mended."""
        return sum(finding.repaired for finding in self.findings)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing was found, or everything was mended."""
        return self.repaired == len(self.findings)

    def __str__(self) -> str:
        examined = f"{self.sessions} sessions and {self.documents} documents of the archive examined"
        found = f"{len(self.findings)} findings, {self.repaired} of them mended"
        young = f"; {self.young} documents that nobody lists are too young to tell" if self.young else ""
        return "\n".join([*map(str, self.findings), f"{examined}: {found}{young}"])

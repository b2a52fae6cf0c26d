"""What the parts of one examination share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from bson import ObjectId

from ..mongodb_session_store import MongoDBSessionStore
from ..telemetry import add
from .report import DoctorReport, Finding, Kind

__all__ = ["Examination", "Listing"]


@dataclass
class Examination:
    """How to examine, and what was found so far.

    Attributes:
        store: Where the sessions lie.
        repair: Whether to mend what can be mended.
        grace: For how long a document of the archive that nobody lists is left alone.
        turn_timeout: Seconds after which a turn that is not renewed has expired.
        sessions: How many were examined.
        documents: Of the archive, how many were examined.
        young: Of those, how many nobody lists and are too young to tell.
        findings: In the order in which they were found.
    """

    store: MongoDBSessionStore
    repair: bool
    grace: timedelta
    turn_timeout: float
    sessions: int = 0
    documents: int = 0
    young: int = 0
    findings: list[Finding] = field(default_factory=list)

    def found(self, whose: tuple[str | None, str | None], kind: Kind, detail: str, *, repaired: bool = False) -> None:
        """Note a finding.

        Args:
            whose: The session and the agent.
            kind: As in :class:`Finding`.
            detail: As there.
            repaired: As there.
        """
        session_id, agent_id = whose
        add("session_store.repairs", int(repaired), {"session_store.repair.kind": kind})
        self.findings.append(
            Finding(session_id=session_id, agent_id=agent_id, kind=kind, detail=detail, repaired=repaired)
        )

    def report(self) -> DoctorReport:
        """All of it."""
        return DoctorReport(
            sessions=self.sessions, documents=self.documents, young=self.young, findings=tuple(self.findings)
        )


@dataclass
class Listing:
    """What one session lists of the archive.

    Attributes:
        gone: Whether the session reads as absent.
        dense: Whether the ids of its messages must be their positions.
        ids: What it lists, with the agent that does.
        odd: How many buckets of an agent hold messages with other ids.
    """

    gone: bool = True
    dense: bool = False
    ids: dict[ObjectId, str] = field(default_factory=dict)
    odd: Counter[str] = field(default_factory=Counter)

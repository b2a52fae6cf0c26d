"""Finds what a crash left in the database, and mends it.

One pass over the sessions by their ids, a hundred at a time, cut on the server to references, tokens, counts and the
ids of tool calls; for every hundred one read of what the archive holds of them. Then one pass over the archive, for
what belongs to sessions that are not there. Messages are read only where their tool calls look wrong, two at a time.
What the first look takes for garbage, or misses, is told and removed only if a second look agrees.

Mended:

* a deletion that was interrupted is finished;
* documents of the archive that no session lists are removed when nobody has touched them for the grace time. A writer
  inserts first and lists then, so the grace time must exceed what a write can take, and what clocks differ by;
* an expired turn is freed, if it is still the same turn;
* a tool use that ends a history without a turn gets the SDK's error results, in a commit like any other: a writer who
  is faster refuses it. An agent that waits for the answer to an interrupt is left alone;
* a message count that disagrees is counted by the server itself.

Only told: documents of the archive that are listed and missing, references with gaps, message ids that are not
positions, and tool results inside a history that do not fit the tool uses before them. These the SDK mends in memory
whenever it loads them; to store that would give every message behind them another position, and so another id.

Agents of the older layout are left alone: they know neither turns nor counts, and the tool that wrote them may be
running. In sessions that began in it, messages may have any ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any

from bson import ObjectId

from ..mongodb_collection import Sessions, noted
from ..mongodb_session_store import MongoDBSessionStore
from .examination import Examination, Listing
from .garbage import Garbage
from .histories import Histories
from .report import DoctorReport, Finding
from .skeleton import ORPHAN, SESSION

__all__ = ["DoctorReport", "Finding", "examine"]

_SESSIONS = 100
_LISTED = 20_000
"""Sessions that are looked at together, or documents of the archive that they list."""

_DOCUMENTS = 1000


def examine(
    store: MongoDBSessionStore,
    session_id: str | None = None,
    *,
    repair: bool = False,
    grace: float = 3600.0,
    turn_timeout: float = 30.0,
) -> DoctorReport:
    """Examine one session or all of them.

    Args:
        store: Where they lie.
        session_id: Only this one, and of the archive only what is its own.
        repair: Mend what can be mended; otherwise nothing is changed.
        grace: Seconds for which a document of the archive that nobody lists is left alone. A value below what a write
            may take, such as 0, is safe only while nobody writes.
        turn_timeout: Seconds after which a turn that is not renewed has expired: the longest that any manager uses.

    Raises:
        ValueError: ``grace`` is negative, or ``turn_timeout`` not above 0.
    """
    if grace < 0 or turn_timeout <= 0:
        raise ValueError(f"grace must not be negative, and turn_timeout be above 0: {grace=}, {turn_timeout=}")
    examination = Examination(store, repair=repair, grace=timedelta(seconds=grace), turn_timeout=turn_timeout)
    histories, garbage = Histories(examination), Garbage(examination)
    if session_id is not None:
        with noted(session_id):
            garbage.examine({session_id: histories.examine(session_id)})
        return examination.report()
    batch: dict[str, Listing] = {}
    for document in _all(store.collection, "", SESSION, _SESSIONS):
        with noted(document["_id"]):
            batch[document["_id"]] = histories.examine_session(document)
        if len(batch) == _SESSIONS or sum(len(listing.ids) for listing in batch.values()) > _LISTED:
            garbage.examine(batch)
            batch = {}
    garbage.examine(batch)
    archived = _all(store.archive.collection, ObjectId(bytes(12)), ORPHAN, _DOCUMENTS)
    while page := list(islice(archived, _DOCUMENTS)):
        garbage.examine_orphans(page)
    return examination.report()


def _all(collection: Sessions, first: Any, projection: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """Every document in the order of ids, with a find for every so many: no cursor has to live for long."""
    bound = {"$gte": first}
    while bound:
        found = collection.find({"_id": bound}, projection).sort("_id").limit(size)
        bound = {}
        for document in found:
            yield document
            bound = {"$gt": document["_id"]}

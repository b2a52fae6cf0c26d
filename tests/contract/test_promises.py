"""The library's own contract for session managers, kept on PostgreSQL as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chat_service.stores import connections
from chat_service.stores.faithful_json import dumps
from chat_service.stores.postgres import PostgresSessionFactory
from mongodb_session_manager.testing import CONTRACT, Check, NotOffered, Subject, run
from tests.contract.places import OnPostgreSQL
from tests.test_contract import NOT_OFFERED_BY_US, OUR_FAILURES


def postgres(url: str, turn_timeout: str = "30", bytes_written: Callable[[], int] | None = None) -> Subject:
    """A session manager on PostgreSQL, also for the checks that kill a process."""
    factory = PostgresSessionFactory(url)
    place = OnPostgreSQL(factory, url)
    return Subject(
        "SessionManager on PostgreSQL",
        lambda session_id: factory.create_session_manager(session_id, turn_timeout=float(turn_timeout)),
        child=(f"{__name__}:postgres", url, turn_timeout),
        delete_session=factory.sessions.delete,
        stored=lambda session_id: place.raw(session_id).encode(),
        bytes_written=bytes_written,
        cleanup=factory.close,
    )


@pytest.fixture
def ours(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subject]:
    sent: list[int] = []

    def counted(value: Any) -> str:
        text = dumps(value)
        sent.append(len(text))
        return text

    monkeypatch.setattr(connections, "dumps", counted)
    with postgres(database_url, "3", lambda: sum(sent)) as subject:
        yield subject


@pytest.mark.parametrize("check", CONTRACT, ids=str)
def test_every_promise_is_kept_on_postgresql_but_those_that_are_named(check: Check, ours: Subject) -> None:
    if check.name in NOT_OFFERED_BY_US:
        with pytest.raises(NotOffered):
            check(ours)
    elif check.name in OUR_FAILURES:
        assert run(ours, [check]).failed
    else:
        check(ours)

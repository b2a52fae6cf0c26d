"""The same service without sessions: routes, checks, agent, model and events are its own, and nothing is stored.

``python -m benchmarks.load.bare`` is ``python -m chat_service`` with that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Self
from unittest import mock

from strands import Agent

from chat_service import __main__ as program
from chat_service import agent_maker as agents
from chat_service import main as application
from chat_service.turn_records import StoredTurn, TurnChange, TurnRecord


class NoSession:
    """Takes the place of a session manager, and of the catalogue, and does nothing."""

    owner = None
    title = "-"

    @property
    def aio(self) -> Self:
        return self

    async def get(self, session_id: str) -> Self:
        return self

    async def check_session_exists(self) -> bool:
        return True


class NoSessions:
    """Takes the place of a factory of session managers."""

    sessions = NoSession()

    @property
    def aio(self) -> Self:
        return self

    async def open_session(self, session_id: str, **_: Any) -> NoSession:
        return NoSession()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class NoRecords:
    """Takes the place of what replicas tell one another of their turns."""

    def claim(self, record: TurnRecord) -> None:
        return None

    def write(self, changes: Sequence[TurnChange]) -> None:
        pass

    def beat(self, replica: str) -> list[str]:
        return []

    def unfinished(self, session_id: str) -> StoredTurn | None:
        return None


def unmanaged(*, session_manager: object, **arguments: Any) -> Agent:
    """An agent that remembers nothing."""
    return Agent(**arguments)


def main() -> int:
    with (
        mock.patch.object(application, "make_factory", return_value=NoSessions()),
        mock.patch.object(application, "make_turn_records", return_value=NoRecords()),
        mock.patch.object(application, "make_documents"),
        mock.patch.object(application, "with_database", nullcontext),
        mock.patch.object(program, "with_database", nullcontext),
        mock.patch.object(agents, "Agent", unmanaged),
    ):
        return program.main()


if __name__ == "__main__":
    sys.exit(main())

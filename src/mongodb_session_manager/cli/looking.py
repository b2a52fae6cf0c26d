"""Commands that look: ``list``, ``search``, ``show``, ``stats``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer
from strands.types.session import SessionMessage

from ..errors import SessionNotFoundError
from ..moving_in.reading import ReadingCatalogue
from ..store import AgentSummary, SessionSummary
from .connecting import reading
from .failures import Refused
from .options import Application, Collection, Database, Json, Owner, Session, Uri, metadata_of, moment
from .output import console, note, print_json, print_table
from .summaries import COLUMNS, agent_json, session_json, session_row
from .transcript import agent_heading, message_json, message_text, session_heading

__all__ = ["list_sessions", "search", "show", "stats"]

_PAGE = 200
_MESSAGES = 100

Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
Order = Annotated[Literal["updated", "created"], typer.Option("--order", help="What is newest.")]
Cursor = Annotated[str | None, typer.Option("--cursor", metavar="TEXT", help="Go on where a list before has ended.")]
When = Annotated[str | None, typer.Option(metavar="WHEN", help="A date in UTC, or how long ago: 12h, 7d.")]


def list_sessions(
    uri: Uri,
    database: Database,
    collection: Collection,
    owner: Owner = None,
    application: Application = None,
    limit: Limit = 50,
    order: Order = "updated",
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List sessions, the newest first.

    Example: mongodb-sessions list --owner ada --limit 20
    """
    with reading(uri, database, collection) as sessions:
        _print_found(sessions, limit, cursor, as_json, owner=owner, application_name=application, order=order)


def search(
    uri: Uri,
    database: Database,
    collection: Collection,
    title: Annotated[str | None, typer.Argument(metavar="TITLE", help="A part of it, in any case.")] = None,
    owner: Owner = None,
    application: Application = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", metavar="KEY=VALUE", help="Equal to this JSON or text; dots go into objects."),
    ] = None,
    created_after: When = None,
    created_before: When = None,
    updated_after: When = None,
    updated_before: When = None,
    limit: Limit = 50,
    order: Order = "updated",
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """Find sessions for which all that is given holds.

    Example: mongodb-sessions search invoice --metadata customer.tier=gold --updated-after 7d
    """
    dates = {
        "created_after": created_after,
        "created_before": created_before,
        "updated_after": updated_after,
        "updated_before": updated_before,
    }
    filters: dict[str, Any] = {name: moment(text) for name, text in dates.items() if text is not None}
    filters |= {"title": title, "metadata": metadata_of(metadata or [])}
    with reading(uri, database, collection) as sessions:
        _print_found(
            sessions, limit, cursor, as_json, owner=owner, application_name=application, order=order, **filters
        )


def _print_found(
    sessions: ReadingCatalogue, limit: int, cursor: str | None, as_json: bool, order: str, **filters: Any
) -> None:
    filters["order"] = f"{order}_at"
    found, after = [], cursor
    left = limit
    while left:
        try:
            page = sessions.page(limit=min(left, _PAGE), cursor=after, **filters)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        left, after = left - len(page.items), page.next_cursor
        if as_json:
            for session in page.items:
                print_json(session_json(session))
        else:
            found += page.items
        if after is None:
            break
    if not as_json:
        print_table(COLUMNS, map(session_row, found))
    if after is not None:
        note(f"There are more: --cursor {after}")


def show(
    session_id: Session,
    uri: Uri,
    database: Database,
    collection: Collection,
    agent: Annotated[str | None, typer.Option("--agent", metavar="ID", help="Only this agent.")] = None,
    last: Annotated[int | None, typer.Option("--last", min=1, help="Only so many messages of each agent.")] = None,
    tools: Annotated[bool, typer.Option("--tools", help="Show tool calls and reasoning whole.")] = False,
    as_json: Json = False,
) -> None:
    """Show what was said in a session.

    Example: mongodb-sessions show user-123 --last 20
    """
    with reading(uri, database, collection) as sessions:
        session = sessions.get(session_id)
        if session is None:
            raise SessionNotFoundError(f"session {session_id!r} does not exist", session_id=session_id)
        agents = [each for each in session.agents.values() if agent in (None, each.agent_id)]
        if agent is not None and not agents:
            raise Refused(f"agent {agent!r} in session {session_id!r} does not exist")
        if as_json:
            print_json({**session_json(session), "agents": [_conversation(sessions, session, a, last) for a in agents]})
            return
        terminal = console()
        for line in session_heading(session):
            terminal.print(line)
        for each in agents:
            for line in agent_heading(each):
                terminal.print(line)
            for message in _messages(sessions, session, each, last):
                for line in message_text(message, unfolded=tools):
                    terminal.print(line)


def _conversation(
    sessions: ReadingCatalogue, session: SessionSummary, agent: AgentSummary, last: int | None
) -> dict[str, Any]:
    return {**agent_json(agent), "messages": [*map(message_json, _messages(sessions, session, agent, last))]}


def _messages(
    sessions: ReadingCatalogue, session: SessionSummary, agent: AgentSummary, last: int | None
) -> Iterator[SessionMessage]:
    """The messages of an agent as they were counted, some at once."""
    position = max(0, agent.message_count - last) if last else 0
    while position < agent.message_count:
        limit = min(_MESSAGES, agent.message_count - position)
        found = sessions.messages(session.session_id, agent.agent_id, offset=position, limit=limit)
        yield from found
        if len(found) < limit:
            return
        position += limit


def stats(
    uri: Uri,
    database: Database,
    collection: Collection,
    owner: Owner = None,
    application: Application = None,
    as_json: Json = False,
) -> None:
    """Count sessions, messages and tokens, and how many sessions began on which day.

    Example: mongodb-sessions stats --application support
    """
    with reading(uri, database, collection) as sessions:
        found = sessions.statistics(owner=owner, application_name=application)
        days = {day.isoformat(): count for day, count in found.days.items()}
        if as_json:
            print_json({"sessions": found.sessions, "messages": found.messages, "totals": found.totals, "days": days})
            return
        sums = {"sessions": found.sessions, "messages": found.messages, **found.totals}
        print_table(("what", "how many"), sums.items())
        if days:
            console().print()
            print_table(("day", "sessions begun"), days.items())

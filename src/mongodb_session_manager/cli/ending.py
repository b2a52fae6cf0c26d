"""Commands that end or begin sessions: ``delete``, ``purge``, ``fork``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..sessions import MongoDBSessionCatalogue
from .connecting import opened
from .failures import Refused
from .options import Agent, Collection, Database, Json, Session, Uri, Yes
from .output import confirm, note, one_line, print_json, printable
from .summaries import session_json

__all__ = ["delete", "fork", "purge"]

_AT_ONCE = 500


def delete(
    uri: Uri,
    database: Database,
    collection: Collection,
    session_ids: Annotated[list[str] | None, typer.Argument(metavar="SESSION...", help="Their ids.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="All sessions of this owner.")] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete sessions with all that belongs to them.

    Example: mongodb-sessions delete user-123 user-124 --yes
    """
    if bool(session_ids) == (owner is not None):
        raise typer.BadParameter("name the sessions, or their owner with --owner", param_hint="SESSION")
    what = f"all sessions of owner {owner!r}" if owner is not None else ", ".join(map(repr, session_ids or ()))
    confirm(f"Delete {what} from {database}.{collection}?", yes)
    with opened(uri, database, collection) as factory:
        if owner is not None:
            _delete_owner(factory.sessions, owner, as_json)
        else:
            _delete(factory.sessions, session_ids or [], as_json)


def _delete_owner(sessions: MongoDBSessionCatalogue, owner: str, as_json: bool) -> None:
    receipt = sessions.delete_owner(owner)
    if as_json:
        print_json(asdict(receipt))
        return
    typer.echo(f"deleted {receipt.sessions} sessions with {receipt.messages} messages")
    if receipt.kept_in_forks:
        note(f"{receipt.kept_in_forks} messages are left in forks that others made")


def _delete(sessions: MongoDBSessionCatalogue, session_ids: list[str], as_json: bool) -> None:
    # Of a deletion that was interrupted, nothing reads as there.
    there = {each: sessions.get(each) is not None for each in dict.fromkeys(session_ids)}
    deleted = [each for each in there if sessions.delete(each) and there[each]]
    missing = [each for each in there if each not in deleted]
    if as_json:
        print_json({"deleted": deleted, "not_found": missing})
    else:
        for each in deleted:
            typer.echo(f"deleted {one_line(each)}")
    if missing:
        raise Refused(f"not found: {', '.join(map(repr, missing))}")


def purge(uri: Uri, database: Database, collection: Collection, yes: Yes = False, as_json: Json = False) -> None:
    """Remove what has expired, and what an interrupted deletion or import left.

    Example: mongodb-sessions purge --yes
    """
    confirm(f"Remove what has expired from {database}.{collection}?", yes)
    purged = 0
    with opened(uri, database, collection) as factory:
        while count := factory.sessions.purge(limit=_AT_ONCE):
            purged += count
    if as_json:
        print_json({"purged": purged})
    else:
        typer.echo(f"removed {purged} sessions")


def fork(
    session_id: Session,
    new_id: Annotated[str, typer.Argument(metavar="NEW", help="The id of the fork.", show_default=False)],
    uri: Uri,
    database: Database,
    collection: Collection,
    agent: Agent = "default",
    at: Annotated[int | None, typer.Option("--at", min=0, help="With how many messages it begins.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Whose the fork is.")] = None,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Its title.")] = None,
    as_json: Json = False,
) -> None:
    """Begin another session with the history of one.

    Example: mongodb-sessions fork user-123 user-123-again --at 4
    """
    with opened(uri, database, collection) as factory:
        made = factory.sessions.fork(session_id, new_id, agent_id=agent, at=at, owner=owner, title=title)
    if as_json:
        print_json(session_json(made))
    else:
        typer.echo(printable(f"{new_id} begins with {made.message_count} messages of {session_id}"))

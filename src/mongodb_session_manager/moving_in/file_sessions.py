"""Sessions that the SDK's ``FileSessionManager`` wrote.

::

    <folder>/session_<id>/session.json
    <folder>/session_<id>/agents/agent_<id>/agent.json
    <folder>/session_<id>/agents/agent_<id>/messages/message_<n>.json
    <folder>/session_<id>/multi_agents/multi_agent_<id>/multi_agent.json

A redacted message comes without its original, as this library stores it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from strands.types.session import Session, SessionAgent, SessionMessage

from ..codec import encode
from ..documents import agent_data, aware, message_document
from ..session_lines import FORMAT, LineWriter
from ..store import SessionCatalogue
from .moving import ImportReport, Progress, Unreadable, move

__all__ = ["import_file_sessions"]

T = TypeVar("T")

_SESSION, _AGENT, _GRAPH, _MESSAGE = "session_", "agent_", "multi_agent_", "message_"


def import_file_sessions(
    target: SessionCatalogue,
    folder: str | os.PathLike[str],
    *,
    owner: str | None = None,
    application_name: str | None = None,
    dry_run: bool = False,
    verify: bool = True,
    workers: int = 8,
    progress: Progress | None = None,
) -> ImportReport:
    """Import the sessions of a folder of the SDK's ``FileSessionManager``. Blocks; the files are only read.

    Interrupted anywhere, a repeat finishes it. A session that cannot be read whole is skipped, with the reason.

    Args:
        target: Where they go, such as ``factory.sessions``.
        folder: The ``storage_dir`` of the file sessions.
        owner: Whose they are from now on.
        application_name: Of which application they are from now on.
        dry_run: Read and compare, and write nothing.
        verify: Read every session back and compare it; also those that are there already.
        workers: How many sessions are moved at once.
        progress: Told in the calling thread how many are done, of how many.

    Raises:
        OSError: The folder cannot be read.
    """
    source = _FileSessions(Path(folder), {"owner": owner, "application_name": application_name})
    return move(source, target, dry_run=dry_run, verify=verify, workers=workers, progress=progress)


class _FileSessions:
    """The sessions of a folder."""

    def __init__(self, folder: Path, fields: Mapping[str, str | None]) -> None:
        self._folder = folder
        self._fields = fields

    def session_ids(self) -> list[str]:
        return sorted(_named(self._folder, _SESSION))

    def left_out(self, session_id: str) -> list[str]:
        return []

    def lines(self, session_id: str) -> Iterator[str]:
        writer = LineWriter()
        folder = self._folder / f"{_SESSION}{session_id}"
        agents = {each: _agent(folder, each) for each in sorted(_named(folder / "agents", _AGENT))}
        yield writer.line("session", self._header(folder, session_id, agents))
        for agent_id, agent in agents.items():
            files = _message_files(folder / "agents" / f"{_AGENT}{agent_id}" / "messages")
            yield writer.line("agent", _agent_fields(agent, len(files)))
            for position, file in enumerate(files):
                yield writer.line("message", {"stored": _stored(file, position)})
        for graph_id in sorted(_named(folder / "multi_agents", _GRAPH)):
            state = _read(folder / "multi_agents" / f"{_GRAPH}{graph_id}" / "multi_agent.json")
            fields = {"agent_id": encode(graph_id), "data": {"state": encode(state)}}
            yield writer.line("graph", {**fields, "created_at": None, "updated_at": None})
        yield writer.line("end", {})

    def _header(self, folder: Path, session_id: str, agents: Mapping[str, SessionAgent]) -> dict[str, Any]:
        file = folder / "session.json"
        session = _of(Session.from_dict, file)
        created_at, updated_at = _date(file, session.created_at), _date(file, session.updated_at)
        return {
            "format": FORMAT,
            "session_id": session_id,
            "title": None,
            **self._fields,
            "created_at": created_at,
            # The SDK writes the session once, an agent after each turn.
            "updated_at": max([updated_at, *(_date(file, agent.updated_at) for agent in agents.values())]),
            "lifetime": None,
            "expires_at": None,
            "metadata": {},
        }


def _named(folder: Path, prefix: str) -> Iterator[str]:
    """What stands behind a prefix in the names of a folder's folders; nothing where an inner folder is missing."""
    if prefix != _SESSION and not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if entry.name.startswith(prefix) and entry.is_dir():
            yield entry.name.removeprefix(prefix)


def _agent(folder: Path, agent_id: str) -> SessionAgent:
    agent = _of(SessionAgent.from_dict, folder / "agents" / f"{_AGENT}{agent_id}" / "agent.json")
    return replace(agent, agent_id=agent_id)


def _agent_fields(agent: SessionAgent, count: int) -> dict[str, Any]:
    dates = {name: _stored_date(getattr(agent, name)) for name in ("created_at", "updated_at")}
    return {"agent_id": encode(agent.agent_id), "count": count, "data": agent_data(agent), "totals": {}, **dates}


def _message_files(folder: Path) -> list[Path]:
    """In the order of the numbers in their names, which may have gaps."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
        numbered = [
            (int(name.removeprefix(_MESSAGE).removesuffix(".json")), name)
            for name in names
            if name.startswith(_MESSAGE) and name.endswith(".json")
        ]
    except OSError as error:
        raise _broken(folder, f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise _broken(folder, "holds a message without a number") from None
    return [folder / name for _, name in sorted(numbered)]


def _stored(file: Path, position: int) -> dict[str, Any]:
    message = _of(SessionMessage.from_dict, file)
    if not isinstance(message.message, dict) or not isinstance(message.redact_message, (dict, type(None))):
        raise _broken(file, "holds no message")
    said = message.to_message()
    stored = message_document(replace(message, message=said, message_id=position, redact_message=None))
    return stored if message.redact_message is None else {**stored, "redact_message": stored["message"]}


def _of(from_dict: Callable[[dict[str, Any]], T], file: Path) -> T:
    """What a file holds, as an object of the SDK."""
    fields = _read(file)
    try:
        return from_dict(fields)
    except (TypeError, ValueError, AttributeError):
        raise _broken(file, "lacks a field, or holds one of another type") from None


def _read(file: Path) -> dict[str, Any]:
    if file.is_symlink():
        raise _broken(file, "is a symbolic link, which the SDK does not follow either")
    try:
        fields = json.loads(file.read_bytes())
    except OSError as error:
        raise _broken(file, f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise _broken(file, "is no JSON") from None
    if not isinstance(fields, dict):
        raise _broken(file, "holds no object")
    return fields


def _date(file: Path, text: object) -> datetime:
    date = _stored_date(text)
    if isinstance(date, datetime):
        return date
    raise _broken(file, "holds a date that is none")


def _stored_date(text: object) -> datetime | str | None:
    if not isinstance(text, str):
        return None
    try:
        return aware(datetime.fromisoformat(text))
    except ValueError:
        return text


def _broken(file: Path, what: str) -> Unreadable:
    return Unreadable(f"{file} {what}")

"""A session and its archive as the database holds them: put there again and again, and what must hold of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import bson
from pymongo import MongoClient, WriteConcern
from strands import Agent
from strands.agent.conversation_manager import SlidingWindowConversationManager
from strands.types.content import ContentBlock

from mongodb_session_manager import MongoDBSessionManager, MongoDBSessionManagerFactory
from mongodb_session_manager.archive import listed, listed_by
from tests.models import ScriptedModel

__all__ = [
    "KB",
    "SECRET",
    "Before",
    "Ground",
    "Grounds",
    "Kept",
    "contents",
    "half_deleted",
    "long_session",
    "look",
    "nothing",
    "picture",
    "remembered",
    "talker",
]

KB = 1024

SECRET = b"\x89PNG never to be seen again"
"""Part of every picture that a test redacts."""


def picture(size: int, secret: bytes = SECRET) -> ContentBlock:
    """A block whose bytes are not small enough to stay in a message."""
    return {"image": {"format": "png", "source": {"bytes": secret + b"." * size}}}


def look(secret: bytes = SECRET) -> list[ContentBlock]:
    """A prompt with a picture."""
    return [{"text": "look"}, picture(70 * KB, secret)]


def talker(manager: MongoDBSessionManager, *script: Any, **options: Any) -> Agent:
    """An agent without tools that keeps ten messages in memory, or as many as its window."""
    return Agent(
        model=options.pop("model", None) or ScriptedModel(*script),
        session_manager=manager,
        conversation_manager=SlidingWindowConversationManager(window_size=options.pop("window", 10)),
        callback_handler=None,
        **options,
    )


@dataclass
class Kept:
    """What both collections held at a time."""

    sessions: list[dict[str, Any]] = field(default_factory=list)
    archive: list[dict[str, Any]] = field(default_factory=list)


class Ground:
    """The collection of sessions and the one beside it, as a test looks at them and sets them back."""

    def __init__(self, client: MongoClient[Any], database: str, collection: str) -> None:
        # What is put there is waited for by nobody but this very test.
        quick = client.get_database(database, write_concern=WriteConcern(1, j=False))
        self.sessions = quick[collection]
        self.archive = quick[f"{collection}_archive"]

    def keep(self) -> Kept:
        return Kept(list(self.sessions.find()), list(self.archive.find()))

    def restore(self, kept: Kept) -> None:
        for collection, documents in ((self.sessions, kept.sessions), (self.archive, kept.archive)):
            collection.delete_many({})
            if documents:
                collection.insert_many(documents)

    def wait_for_the_dead(self) -> None:
        """Wait until the server has nothing left to do for processes that called themselves after the collection."""
        admin = self.sessions.database.client.admin
        stages: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"appName": self.sessions.name}},
        ]
        deadline = time.monotonic() + 10
        while list(admin.aggregate(stages)):
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def let_the_lease_pass(self, seconds: float = 60.0) -> None:
        """Make a running turn so much older."""
        stamp = "agents.default.turn.stamp"
        older = {"$subtract": [f"${stamp}", seconds * 1000]}
        self.sessions.update_one({"_id": "s", stamp: {"$type": "date"}}, [{"$set": {stamp: older}}])

    def drop(self) -> None:
        self.sessions.drop()
        self.archive.drop()

    def shows(self, secret: bytes) -> list[str]:
        """Where these bytes are still to be found."""
        return [
            f"{collection.name} {document['_id']}"
            for collection in (self.sessions, self.archive)
            for document in collection.find()
            if secret in bson.encode(document)
        ]

    def alive(self, session_id: str = "s") -> dict[str, Any]:
        """The document of a session, ``{}`` when there is none or it is being deleted."""
        return self.sessions.find_one({"_id": session_id, "deleting": {"$exists": False}}) or {}

    def lists(self, session_id: str = "s") -> set[Any]:
        """The ids of the archive that a session lists: its buckets, its large values, and those of its buckets."""
        ids = set(listed_by(self.alive(session_id)))
        for bucket in self.archive.find({"_id": {"$in": [*ids]}, "messages": {"$exists": True}}):
            ids |= set(listed(bucket["messages"]))
        return ids

    def garbage(self, session_id: str = "s") -> list[Any]:
        """What lies in the archive for a session and is not listed by it."""
        lists = self.lists(session_id)
        return [each["_id"] for each in self.archive.find({"session_ids": session_id}) if each["_id"] not in lists]

    def assert_sound(self, session_id: str = "s") -> None:
        """The ids of every history are dense, the counts are true, and everything listed is there."""
        lists = self.lists(session_id)
        there = {each["_id"] for each in self.archive.find({"session_ids": session_id}, {"_id": 1})}
        assert lists <= there, f"{len(lists - there)} listed documents of the archive are not there"
        for agent in self.alive(session_id).get("agents", {}).values():
            positions: list[int] = []
            references = agent.get("archive", [])
            buckets = self.archive.find({"_id": {"$in": [each["id"] for each in references]}})
            found = {bucket["_id"]: bucket for bucket in buckets} if references else {}
            for reference in references:
                bucket = found[reference["id"]]
                assert bucket["first"] == reference["first"] == len(positions)
                positions += [each["message_id"] for each in bucket["messages"]]
                assert positions[-1] == reference["last"]
            positions += [each["message_id"] for each in agent.get("messages", [])]
            assert positions == list(range(len(positions)))
            assert agent.get("message_count", len(positions)) == len(positions)


Before: TypeAlias = Callable[[MongoDBSessionManagerFactory, Ground], Kept]
"""Makes what is there when a test begins."""


class Grounds:
    """What tests begin with, made once."""

    def __init__(self) -> None:
        self._kept: dict[Before, Kept] = {}

    def laid(self, before: Before, factory: MongoDBSessionManagerFactory, ground: Ground) -> Kept:
        if before not in self._kept:
            ground.restore(Kept())
            self._kept[before] = before(factory, ground)
        ground.restore(self._kept[before])
        return self._kept[before]


def contents(messages: Iterable[Any]) -> list[dict[str, Any]]:
    """What was said, without the ids and measurements that differ from run to run."""
    return [_said(each if isinstance(each, Mapping) else each.message) for each in messages]


def _said(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": message["role"], "content": message["content"]}


def long_session(factory: MongoDBSessionManagerFactory, ground: Ground, window: int = 10) -> Kept:
    """A session ``s`` that begins with a secret picture, has a bucket, and fills another one with its next turn."""
    agent = talker(factory.create_session_manager("s"), "a " + "y" * 9000, window=window)
    agent(look())
    agent.state.set("last", "before")
    number = 0
    while not (tail := _tail(ground)).get("archive") or len(bson.encode({"": tail["messages"]})) < 97 * KB:
        agent(f"question {number:03} " + "x" * 9000)
        number += 1
    manager = factory.create_session_manager("s")
    manager.update_metadata({"colour": "red"})
    manager.add_feedback({"rating": "up"})
    return ground.keep()


def _tail(ground: Ground) -> dict[str, Any]:
    document = ground.sessions.find_one({"_id": "s"})
    assert document is not None
    agent: dict[str, Any] = document["agents"]["default"]
    return agent


def remembered(factory: MongoDBSessionManagerFactory, ground: Ground) -> Kept:
    """A long session of which an agent still has everything in memory, so that it reads the archive when it resumes."""
    return long_session(factory, ground, window=1000)


def half_deleted(factory: MongoDBSessionManagerFactory, ground: Ground) -> Kept:
    """A long session whose deletion was interrupted right after it began."""
    long_session(factory, ground)
    ground.sessions.update_one({"_id": "s"}, {"$set": {"deleting": "a token"}})
    return ground.keep()


def nothing(factory: MongoDBSessionManagerFactory, ground: Ground) -> Kept:
    """No session at all."""
    return ground.keep()

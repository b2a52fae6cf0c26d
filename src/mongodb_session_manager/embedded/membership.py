"""Which members a replica set has: commands to one server at a time, over a direct connection."""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from .errors import EmbeddedMongoDBError

__all__ = [
    "HOST",
    "POLL_SECONDS",
    "connect",
    "hello",
    "initiate",
    "is_served",
    "rewrite_hosts",
    "stored_hosts",
]

HOST = "127.0.0.1"
POLL_SECONDS = 0.01
_ALREADY_INITIALIZED = 23


def connect(port: int) -> MongoClient[dict[str, Any]]:
    """A client of this one server, whatever its state; what does not answer soon is no server of ours."""
    return MongoClient(
        HOST,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=1_000,
        connectTimeoutMS=1_000,
        socketTimeoutMS=10_000,
        appname="mongodb-session-manager-embedded",
    )


def is_served(port: int, db: Path) -> bool:
    """Whether the server on ``port`` is the mongod of the data folder ``db``."""
    with contextlib.suppress(PyMongoError, KeyError, TypeError), connect(port) as client:
        return bool(client.admin.command("getCmdLineOpts")["parsed"]["storage"]["dbPath"] == str(db))
    return False


def hello(client: MongoClient[dict[str, Any]]) -> Mapping[str, Any]:
    """The server's own view of its state, an empty one while it does not answer."""
    try:
        return client.admin.command("hello")
    except PyMongoError:
        return {}


def stored_hosts(client: MongoClient[dict[str, Any]], replica_set: str) -> list[str]:
    """The members' addresses in the stored configuration, none if there is no configuration yet.

    It is read from its collection: ``replSetGetConfig`` answers only once the server has looked for itself among
    the members, which takes 30 seconds when a program that does not answer listens on one of the addresses.

    Raises:
        EmbeddedMongoDBError: If the stored replica set has another name.
    """
    stored = client.local["system.replset"].find_one()
    if stored is None:
        return []
    if stored["_id"] != replica_set:
        name = stored["_id"]
        raise EmbeddedMongoDBError(f"The replica set in this data folder is named {name!r}: pass replica_set={name!r}.")
    return [member["host"] for member in stored["members"]]


def initiate(
    client: MongoClient[dict[str, Any]], replica_set: str, hosts: Sequence[str], settings: Mapping[str, Any]
) -> None:
    """Make these servers, all of them new, a replica set."""
    members = [{"_id": number, "host": host} for number, host in enumerate(hosts)]
    try:
        client.admin.command("replSetInitiate", {"_id": replica_set, "members": members, "settings": dict(settings)})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise


def rewrite_hosts(client: MongoClient[dict[str, Any]], hosts: Sequence[str]) -> None:
    """Replace the members' addresses, on a server that was started outside its replica set."""
    members = [{"_id": number, "host": host} for number, host in enumerate(hosts)]
    # As a forced reconfiguration does it: a version beyond any other, without a term, so that it wins everywhere.
    jump = 10_000 + secrets.randbelow(90_000)
    change = {"$set": {"members": members}, "$inc": {"version": jump}, "$unset": {"term": 1}}
    client.local["system.replset"].update_one({}, change)

"""The database behind the service: the one that is set, else an embedded one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from mongodb_session_manager import MongoDBSessionManagerFactory

from .config import ConfigurationError, Settings

if TYPE_CHECKING:
    from mongodb_session_manager.embedded import EmbeddedMongoDB

__all__ = ["make_factory", "with_database"]


def make_factory(settings: Settings) -> MongoDBSessionManagerFactory:
    """A factory of session managers. Connects in the background.

    Args:
        settings: With ``mongodb_uri``.
    """
    assert settings.mongodb_uri, "with_database() sets it"
    return MongoDBSessionManagerFactory(
        settings.mongodb_uri.get_secret_value(),
        database_name=settings.database_name,
        collection_name=settings.collection_name,
        maxPoolSize=settings.max_pool_size,
        minPoolSize=settings.min_pool_size,
    )


@contextmanager
def with_database(settings: Settings) -> Iterator[Settings]:
    """Settings that name a database, for as long as this lasts. Blocks while an embedded server starts and ends.

    Args:
        settings: Without ``mongodb_uri``, an embedded server is run on ``data_dir``.

    Raises:
        ConfigurationError: There is no server, and none could be started. The message names the ways out.
    """
    if settings.mongodb_uri:
        yield settings
        return
    server = _started(settings)
    try:
        reachable = settings.model_copy(update={"mongodb_uri": SecretStr(server.uri)})
        if server.owned:  # then no other process can hold a turn: what is left over is from one that was killed
            with make_factory(reachable) as factory:
                factory.sessions.clear_turns()
        yield reachable
    finally:
        server.stop()


def _started(settings: Settings) -> EmbeddedMongoDB:
    try:
        # Imported here: it is an extra, which a service with a database of its own does not need.
        from mongodb_session_manager.embedded import EmbeddedMongoDB, EmbeddedMongoDBError
    except ImportError as error:
        raise ConfigurationError(f"MONGODB_URI: missing. {error}") from error
    _check_writable(settings.data_dir)
    try:
        return EmbeddedMongoDB(settings.data_dir).start()
    except EmbeddedMongoDBError as error:
        raise ConfigurationError(f"MONGODB_URI: missing, and no server of our own runs. {error}") from error


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"DATA_DIR: {folder} cannot be created or written ({error.strerror}). Set it to a folder that can be, "
            "or set MONGODB_URI to use a server of your own."
        ) from error

"""The database behind the service: the one that is set, else an embedded MongoDB."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from mongodb_session_manager import MongoDBSessionManagerFactory

from .config import ConfigurationError, Settings
from .exceptions import ServiceError
from .stores.documents import MongoDBDocuments, StoredDocuments
from .stores.mongodb_turn_records import MongoDBTurnRecords
from .stores.session_factory import SessionFactory
from .stores.tally import COMMANDS
from .turn_records import TurnRecords

if TYPE_CHECKING:
    from mongodb_session_manager.embedded import EmbeddedMongoDB

    from .stores.postgres import PostgresSessionFactory

__all__ = ["make_documents", "make_factory", "make_turn_records", "migrate", "with_database"]

logger = logging.getLogger(__name__)


def make_factory(settings: Settings) -> SessionFactory:
    """A factory of session managers on the store that is set. Connects in the background, or on first use.

    Args:
        settings: With ``mongodb_uri``, or with ``database_url`` for PostgreSQL.

    Raises:
        ConfigurationError: PostgreSQL needs a package that is not installed.
    """
    return _on_postgresql(settings) if settings.session_store == "postgres" else _on_mongodb(settings)


def make_turn_records(settings: Settings, factory: SessionFactory) -> TurnRecords:
    """Where turns are written down for all replicas: beside the sessions, on the same connections. No I/O.

    Args:
        settings: Those that the factory was made with.
        factory: Of :func:`make_factory`.
    """
    if isinstance(factory, MongoDBSessionManagerFactory):
        collection_name = f"{factory.collection_name}_turns"
        client = factory.sessions.client
        return MongoDBTurnRecords(client, factory.database_name, collection_name, settings.turn_retention_seconds)
    from .stores.postgres import PostgresSessionFactory

    assert isinstance(factory, PostgresSessionFactory)
    return factory.turn_records(settings.turn_retention_seconds)


def make_documents(factory: SessionFactory) -> StoredDocuments:
    """Sessions as they are stored, on the factory's connections. No I/O.

    Args:
        factory: Of :func:`make_factory`.
    """
    if isinstance(factory, MongoDBSessionManagerFactory):
        return MongoDBDocuments(factory.sessions.client, factory.database_name, factory.collection_name)
    from .stores.postgres import PostgresSessionFactory

    assert isinstance(factory, PostgresSessionFactory)
    return factory.documents()


def migrate(settings: Settings) -> list[str]:
    """Bring the tables of a PostgreSQL database up to date. Blocks.

    Args:
        settings: With ``database_url``.

    Returns:
        The names of the migrations that were applied.

    Raises:
        ServiceError: The database cannot be reached.
        ConfigurationError: It refuses us.
    """
    with _on_postgresql(settings) as factory:
        from asyncpg import PostgresError

        try:
            return factory.migrate()
        except PostgresError as error:  # its text may quote the address
            raise ConfigurationError(
                f"DATABASE_URL: the database does not take it ({type(error).__name__}). Check user, password, database"
                " and that the user may create tables."
            ) from error


def _on_postgresql(settings: Settings) -> PostgresSessionFactory:
    if not settings.database_url:
        raise ConfigurationError(f"DATABASE_URL: missing. {Settings.model_fields['database_url'].description}")
    if not find_spec("asyncpg"):
        raise ConfigurationError("SESSION_STORE: postgres needs the package asyncpg. Install it, or set it to mongodb.")
    # Imported here: the driver is an extra, which a service on MongoDB does not need.
    from .stores.postgres import PostgresSessionFactory

    return PostgresSessionFactory(settings.database_url.get_secret_value())


def _on_mongodb(settings: Settings) -> MongoDBSessionManagerFactory:
    assert settings.mongodb_uri, "with_database() sets it"
    return MongoDBSessionManagerFactory(
        settings.mongodb_uri.get_secret_value(),
        database_name=settings.database_name,
        collection_name=settings.collection_name,
        maxPoolSize=settings.max_pool_size,
        minPoolSize=settings.min_pool_size,
        event_listeners=[COMMANDS],
    )


@contextmanager
def with_database(settings: Settings) -> Iterator[Settings]:
    """Settings that name a database, for as long as this lasts. Blocks while an embedded server starts and ends.

    Args:
        settings: For PostgreSQL its tables are brought up to date; if it cannot be reached now, on first use. For
            MongoDB without ``mongodb_uri``, an embedded server is run on ``data_dir``.

    Raises:
        ConfigurationError: There is no server, and none could be started; or PostgreSQL refuses us. The message names
            the ways out.
    """
    if settings.session_store == "postgres":
        _prepare(settings)
        yield settings
        return
    if settings.mongodb_uri:
        yield settings
        return
    server = _started(settings)
    try:
        reachable = settings.model_copy(update={"mongodb_uri": SecretStr(server.uri)})
        if server.owned:  # then no other process can hold a turn: what is left over is from one that was killed
            with _on_mongodb(reachable) as factory:
                factory.sessions.clear_turns()
        yield reachable
    finally:
        server.stop()


def _prepare(settings: Settings) -> None:
    try:
        for name in migrate(settings):
            logger.info("migration=<%s> | applied", name)
    except ServiceError as error:
        logger.warning(
            "error=<%s> | PostgreSQL cannot be reached yet, going on without", type(error.__cause__).__name__
        )


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

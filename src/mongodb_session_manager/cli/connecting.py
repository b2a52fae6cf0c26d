"""The way to the sessions, and what is told when it is blocked: never a credential."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from pymongo.errors import ConnectionFailure, PyMongoError

from .._connection_string import without_secrets
from ..errors import SessionError
from ..mongodb_connection_pool import UnsupportedServerError
from ..mongodb_session_factory import MongoDBSessionManagerFactory
from ..moving_in.reading import ReadingCatalogue
from .failures import Refused, Unreachable
from .output import note

__all__ = ["opened", "reading", "told"]


@contextmanager
def opened(uri: str, database: str, collection: str) -> Iterator[MongoDBSessionManagerFactory]:
    """A factory on a collection, closed afterwards.

    Raises:
        BadParameter: The address is none.
        Refused: A session is not there, or not to be touched.
        Unreachable: The database cannot be reached, or refuses us.
    """
    try:
        with warnings.catch_warnings(record=True) as told_by_the_driver:
            warnings.simplefilter("always", UserWarning)
            factory = MongoDBSessionManagerFactory(uri, database, collection, minPoolSize=0)
    except (PyMongoError, TypeError, ValueError) as error:
        raise typer.BadParameter(without_secrets(str(error), uri, {}), param_hint="--uri") from None
    for warning in told_by_the_driver:
        note(f"mongodb-sessions: --uri: {without_secrets(str(warning.message), uri, {})}")
    with factory, told(uri):
        yield factory


@contextmanager
def reading(uri: str, database: str, collection: str) -> Iterator[ReadingCatalogue]:
    """The sessions of a collection to be looked at: nothing is made, indexes neither."""
    with opened(uri, database, collection) as factory:
        yield ReadingCatalogue(factory.sessions.client, database, collection)


@contextmanager
def told(uri: str) -> Iterator[None]:
    """Let failures be told in one line that holds nothing secret."""
    try:
        yield
    except ConnectionFailure as error:
        raise Unreachable(f"the database cannot be reached: {without_secrets(_short(error), uri, {})}") from None
    except (PyMongoError, UnsupportedServerError) as error:
        raise Unreachable(f"the database refuses: {without_secrets(_short(error), uri, {})}") from None
    except (SessionError, ValueError) as error:
        raise Refused(without_secrets(str(error), uri, {})) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise Refused(f"{error.filename or 'a file'}: {error.strerror}") from None


def _short(error: Exception) -> str:
    """Without the state of every server and the whole reply."""
    return str(error).partition(", Timeout:")[0].partition(", full error:")[0].partition(" (configured")[0]

"""A MongoDB client, one's own or borrowed: whoever opens closes."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient

from .mongodb_connection_pool import ClientLease, acquire_client, check_write_concern

__all__ = ["Connection"]


class Connection:
    """How a factory, a repository or a lone session manager reaches its database.

    Attributes:
        lease: The share in a client that belongs to this, ``None`` when the client is borrowed.
    """

    def __init__(
        self, connection_string: str | None, client: MongoClient[Any] | None, client_kwargs: dict[str, Any]
    ) -> None:
        """Take a client, or a share in one. Waits for no server.

        Args:
            connection_string: Makes a client of its own, shared with whoever names the same one.
            client: A borrowed client, which wins.
            client_kwargs: Options of ``MongoClient``, with a connection string.

        Raises:
            ValueError: Neither was given, or the client would not acknowledge writes.
            TypeError: There are options for a client that is borrowed.
        """
        self.lease: ClientLease | None = None
        if client is not None:
            if client_kwargs:
                raise TypeError(f"unknown arguments: {', '.join(sorted(client_kwargs))}")
            self._borrowed = client
        elif connection_string is not None:
            self.lease = acquire_client(connection_string, **client_kwargs)
        else:
            raise ValueError("pass connection_string or client")
        try:
            check_write_concern(self.client)
        except ValueError:
            self.close()
            raise

    @property
    def client(self) -> MongoClient[Any]:
        """The client of this process: a forked child has another one than its parent."""
        return self._borrowed if self.lease is None else self.lease.client

    def close(self) -> None:
        """Give back a client of one's own; a borrowed one stays open. May be called again."""
        if self.lease is not None:
            self.lease.release()

"""The address of a PostgreSQL database. No I/O, and nothing of the driver."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

__all__ = ["Address"]

_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]*)(:[0-9]+)?")
_PORT = 5432
_NO_URL = "this is not a URL; percent-encode what is special in user name and password"


class Address:
    """A ``DATABASE_URL`` taken apart: what asyncpg understands of it, and whether a pooler is behind it.

    Attributes:
        url: For asyncpg.
        is_pooled: Whether transactions of one connection may reach different sessions of the server.
        redacted: For people, without password and options.
        attributes: For spans and figures: system, database, server.
    """

    def __init__(self, url: str) -> None:
        """Take a URL apart.

        Raises:
            ValueError: It is none of a PostgreSQL database. The message does not quote it.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError(_NO_URL) from None
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError("this is not the address of a PostgreSQL server")
        hosts = parts.netloc.rpartition("@")[2]
        if not all(map(_HOST.fullmatch, hosts.split(","))):
            raise ValueError(_NO_URL)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        # Prisma's mark for a pooler, which the server would refuse.
        marked = options.pop("pgbouncer", "false").lower() == "true"
        # asyncpg authenticates without a channel binding; over TLS the server still has to prove itself by `sslmode`.
        options.pop("channel_binding", None)
        options.pop("connect_timeout", None)
        query = urlencode(options, quote_via=quote)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}{query and '?'}{query}"
        self.is_pooled = marked or any(host.partition(".")[0].endswith("-pooler") for host in hosts.split(","))
        self.redacted = f"postgresql://{hosts}{unquote(parts.path)}"
        first = _HOST.fullmatch(hosts.partition(",")[0])
        host, port = first.groups() if first else (hosts, None)
        self.attributes: dict[str, str | int] = {
            "db.system.name": "postgresql",
            "db.namespace": unquote(parts.path).strip("/"),
            "server.address": host.strip("[]"),
            "server.port": int(port[1:]) if port else _PORT,
        }

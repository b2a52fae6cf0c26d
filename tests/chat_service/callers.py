"""Owners with keys, and what each of them is to the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from chat_service.security.api_keys import made_for

from .running import Service

KEYS = {owner: made_for(owner) for owner in ("ada", "bob", "ops")}
API_KEYS = ",".join(entry for _, entry in KEYS.values())


def bearer(owner: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[owner][0]}"}


@contextmanager
def acting_as(owner: str, service: Service) -> Iterator[Service]:
    """The same service with an owner's key in every request."""
    with httpx.Client(base_url=service.http.base_url, headers=bearer(owner), timeout=20) as http:
        yield Service(http, service.database_name)

"""Keys of the service: made at random, stored as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

__all__ = ["ApiKey", "KeyRing", "is_owner", "made_for", "parse"]

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key.

    Attributes:
        owner: Whose sessions its holder may use. Several keys may have the same owner.
        digest: SHA-256 of the key, in hex. A key is 256 random bits, so that there is nothing to be found by guessing
            and a slow hash would only slow the service.
    """

    owner: str
    digest: str

    @property
    def name(self) -> str:
        """Tells this key from others without saying anything about it that helps."""
        return self.digest[:16]


def is_owner(name: str) -> bool:
    """Whether this can be the name of an owner: letters, digits, dots, dashes and underscores, 64 at most."""
    return _OWNER.fullmatch(name) is not None


def made_for(owner: str) -> tuple[str, str]:
    """A new key, and its entry for ``API_KEYS``."""
    key = f"chat_{secrets.token_urlsafe(32)}"
    return key, f"{owner}:{_digest(key.encode())}"


def parse(text: str) -> tuple[ApiKey, ...]:
    """Read ``API_KEYS``.

    Args:
        text: ``name:hash``, several with commas between them.

    Raises:
        ValueError: Names the place and the remedy, never what is written there.
    """
    keys: dict[str, ApiKey] = {}
    for position, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        owner, _, digest = entry.rpartition(":")
        if not is_owner(owner) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"entry {position} is not owner:hash; a key itself does not belong here")
        if digest in keys:
            raise ValueError(f"entry {position} is a key that is listed before: a key has one owner")
        keys[digest] = ApiKey(owner, digest)
    return tuple(keys.values())


class KeyRing:
    """The keys that are accepted."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        """Whether there are any; without, nobody is asked for one."""
        return bool(self._keys)

    def find(self, presented: bytes) -> ApiKey | None:
        """Whose key this is. How long it takes tells neither which one it is nor how much of it is right."""
        digest = _digest(presented[:_LONGEST])
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()

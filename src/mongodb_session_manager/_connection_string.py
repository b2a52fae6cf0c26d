"""Connection strings as they may be shown, logged or raised: without their credentials.

Pure functions. What is not well-formed is hidden rather than guessed at.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from pymongo.common import VALIDATORS

_URI = re.compile(r"mongodb(?:\+srv)?://\S+", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9a-f:.%]+\]|%2F[\w.%-]+\.sock|[\w.-]+)(:\d+)?", re.IGNORECASE)
_DATABASE = re.compile(r"[\w.%-]*")
_SECRET_OPTIONS = frozenset({"authmechanismproperties", "password", "tlscertificatekeyfilepassword", "username"})
# An allow-list: an option that the driver does not know may well be a misspelt one with a secret in it.
_SHOWN_OPTIONS = frozenset(VALIDATORS) - _SECRET_OPTIONS


def redacted(connection_string: str) -> str:
    """Return a connection string fit to be shown: hosts, database and harmless options without any credentials.

    Args:
        connection_string: Any string, usually `mongodb://user:password@host/database?option=value`.

    Returns:
        The string with user and password as one `***`, and `***` for every option that is or may be a secret. Of a
        malformed string little more than `mongodb://***` may remain.
    """
    return _shown_and_hidden(connection_string)[0]


def redact_text(text: str) -> str:
    """Redact every MongoDB connection string inside a text, such as an error's message."""
    return _URI.sub(_redacted_match, text)


def without_secrets(text: str, connection_string: str, options: Mapping[str, Any]) -> str:
    """Redact a text that speaks of one connection, wherever it repeats a part of its credentials."""
    text = redact_text(text)
    for piece in secret_pieces(connection_string, options):
        text = re.sub(rf"(?<!\w){re.escape(piece)}(?!\w)", "***", text)
    return text


def secret_pieces(connection_string: str, options: Mapping[str, Any]) -> set[str]:
    """Return what is secret in a connection string and its keyword options, in the pieces that an error may quote."""
    secrets = _shown_and_hidden(connection_string)[1]
    secrets += [str(value) for name, value in options.items() if name.lower() in _SECRET_OPTIONS]
    decoded = [unquote_plus(secret) for secret in secrets]
    return {piece for secret in secrets + decoded for piece in re.split(r"[@/:?&=,.#\s]", secret) if piece}


def _redacted_match(match: re.Match[str]) -> str:
    uri = match.group().rstrip("'\")>},.;:")
    return redacted(uri) + match.group()[len(uri) :]


def _shown_and_hidden(connection_string: str) -> tuple[str, list[str]]:
    scheme, credentials, rest = _split(connection_string)
    address, question, query = rest.partition("?")
    hosts, slash, database = address.partition("/")
    shown, hidden = scheme + ("***@" if credentials else ""), [credentials]
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return f"{shown}***", [*hidden, rest]
    if not _DATABASE.fullmatch(database):
        hidden.append(database)
        database = "***"
    options = re.split("([&;])", query)
    hidden += [option.partition("=")[2] or option for option in options if _shown_option(option) != option]
    return f"{shown}{hosts}{slash}{database}{question}{''.join(map(_shown_option, options))}", hidden


def _split(connection_string: str) -> tuple[str, str, str]:
    """Split into the scheme with its `://`, the credentials, and everything after them."""
    scheme, separator, rest = connection_string.partition("://")
    if not separator:
        scheme, rest = "", connection_string
    elif scheme.lower() not in ("mongodb", "mongodb+srv"):
        scheme = "***"
    # The last "@" counts: a password that was not percent-encoded may itself hold "@", "/" or "?".
    credentials, at, rest = rest.rpartition("@")
    return scheme + separator, credentials + at, rest


def _shown_option(option: str) -> str:
    name, equals, _ = option.partition("=")
    if option in ("", "&", ";") or (equals and name.lower() in _SHOWN_OPTIONS):
        return option
    return f"{name}=***" if name.lower() in _SECRET_OPTIONS else "***"

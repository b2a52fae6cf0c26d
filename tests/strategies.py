"""Hypothesis strategies of what the SDK may hand over, awkward values included, and the equality to test it with."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from strands.types.content import ContentBlock, Message

AWKWARD_TEXT = (
    "", "\0", "a\0b", "$", "$set", "$$NOW", "\ud800", "\udfff\ud800", "\ud83d\ude00", "a\ud83d\ude00\ud83d",
    "\U0001f600", "\\ud83d\\ude00", '"', "\u2028", "ünïcödé", "e\u0301", "\u00e9", "ﬃ", "1", "NaN", "null", "x" * 5000,
)  # fmt: skip
AWKWARD_KEYS = (
    *AWKWARD_TEXT[:-1],
    "a.b", ".", "..", "a.", ".a", "a.$b", "a.$[]", "a$", "0", "_id", "__proto__",
    "$ref", "$id", "$db", "$each", "$slice", "$oid", "$date", "$numberLong", "$literal",
    "__json__", "__bytes_encoded__", "data", "$int", "$float", "$bytes", "$str", "$dict", "$part", "$parts", "$bson",
)  # fmt: skip
AWKWARD_INTEGERS = tuple(
    sign * (2**bits + off) for bits in (0, 31, 53, 63, 64, 10_000) for off in (-1, 0, 1) for sign in (1, -1)
)
AWKWARD_FLOATS = (0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 2.0**63)


def identical(left: object, right: object) -> bool:
    """Tell whether two values agree in types, bits (but any NaN is NaN), order of keys and time zones, at any depth."""
    pairs = [(left, right)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, dict) and isinstance(b, dict):
            a, b = [part for item in a.items() for part in item], [part for item in b.items() for part in item]
        if isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif _comparable(a) != _comparable(b):
            return False
    return True


def _comparable(value: object) -> object:
    if isinstance(value, float):
        return "nan" if value != value else struct.pack(">d", value)
    if isinstance(value, datetime):
        zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
        return (value.isoformat(), value.fold, zone)
    return value


def nested(levels: int, inner: object, wrap: Callable[[Any], object] = lambda value: [value]) -> Any:
    """Put a value into so many containers, one in the other."""
    for _ in range(levels):
        inner = wrap(inner)
    return inner


def texts() -> SearchStrategy[str]:
    """Text of any code points, lone surrogates and NULs among them."""
    return st.sampled_from(AWKWARD_TEXT) | st.text(st.characters(exclude_categories=()), max_size=20)


def instants() -> SearchStrategy[datetime]:
    """Datetimes to the microsecond: naive, with a fixed offset, in a named zone."""
    offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
    zones = st.none() | st.just(UTC) | offsets | st.timezones()
    return st.datetimes(timezones=zones, allow_imaginary=True)


def scalars() -> SearchStrategy[Any]:
    """Every kind of value that holds no other."""
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers() | st.integers(-(2**80), 2**80) | st.sampled_from(AWKWARD_INTEGERS),
        st.floats() | st.sampled_from(AWKWARD_FLOATS),
        texts(),
        st.binary(max_size=40),
        instants(),
    )


def keys() -> SearchStrategy[Any]:
    """Keys of dictionaries: mostly text, and the other types that JSON would turn into text."""
    text = st.sampled_from(AWKWARD_KEYS) | texts()
    return text | text | text | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)


def json_like() -> SearchStrategy[Any]:
    """Anything that can be stored: odd keys, values that look like stored ones, nesting beyond MongoDB's."""
    leaves = scalars() | lookalikes() | deep()
    return st.recursive(leaves, lambda inner: _lists(inner) | _dictionaries(inner), max_leaves=12)


def lookalikes() -> SearchStrategy[dict[str, Any]]:
    """Dictionaries that could be taken for what the codec, the SDK or the driver writes."""
    content = texts() | st.integers() | st.sampled_from(['"a"', "[1]", "{}", '{"$int":"0x1"}', "{", "aGk=", "aGk"])
    return st.one_of(
        st.builds(lambda value: {"__json__": value}, content),
        st.builds(lambda value, more: {"__json__": value, "more": more}, content, content),
        st.builds(lambda value: {"__bytes_encoded__": True, "data": value}, content),
        st.builds(lambda flag, value: {"data": value, "a": 1, "__bytes_encoded__": flag}, st.booleans(), content),
        st.builds(lambda value: {"$ref": "a", "$id": value, "$db": "b"}, content),
        st.builds(lambda key, value: {key: [[value, value]]}, st.sampled_from(["$dict", "$parts", "$part"]), content),
    )


def deep() -> SearchStrategy[Any]:
    """Values nested around and beyond what MongoDB takes."""
    layers = st.sampled_from([lambda v: [v], lambda v: {"a": v}, lambda v: {"$a": v}, lambda v: {"a": [1, v], "b": {}}])
    return st.builds(nested, st.integers(20, 130) | st.integers(200, 300), scalars(), layers)


def plain_json() -> SearchStrategy[Any]:
    """Values that BSON holds as they are and that MongoDB therefore stores as they are."""
    text = st.text(max_size=20)
    plain_keys = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=10).filter(
        lambda key: not key.startswith("$") and key not in {"__json__", "__bytes_encoded__"}
    )
    numbers = st.integers(-(2**63), 2**63 - 1) | st.floats()
    leaves = st.none() | st.booleans() | numbers | text | st.binary(max_size=20)
    return st.recursive(leaves, lambda inner: _lists(inner) | st.dictionaries(plain_keys, inner, max_size=4))


def content_blocks() -> SearchStrategy[ContentBlock]:
    """The SDK's content blocks, with awkward text, binary and tool data."""
    blocks = {
        "text": texts(),
        "image": _media("png", "jpeg", "gif", "webp"),
        "audio": _media("mp3", "wav"),
        "video": _media("mp4", "three_gp"),
        "document": _document(),
        "toolUse": _typed(toolUseId=texts(), name=texts(), input=json_like(), reasoningSignature=texts()),
        "toolResult": _tool_result(),
        "reasoningContent": _reasoning(),
        "cachePoint": _typed(type=st.just("default"), ttl=st.just("5m")),
        "guardContent": _typed(text=_typed(text=texts(), qualifiers=_lists(st.just("query")))),
        "citationsContent": _typed(content=_lists(_typed(text=texts())), citations=_lists(_dictionaries(scalars()))),
    }
    return st.one_of(*(st.builds(lambda value, name=name: {name: value}, block) for name, block in blocks.items()))


def messages() -> SearchStrategy[Message]:
    """The SDK's messages, with or without tracking id and metadata."""
    usage = _typed(inputTokens=st.integers(0), outputTokens=st.integers(0), totalTokens=st.integers(0))
    metrics = _typed(latencyMs=st.integers(0), timeToFirstByteMs=st.floats())
    return st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant"]), "content": _lists(content_blocks())},
        optional={
            "tracking_id": st.uuids().map(str),
            "metadata": _typed(usage=usage, metrics=metrics, custom=_dictionaries(json_like())),
        },
    )  # type: ignore[return-value]


def _typed(**fields: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


def _lists(inner: SearchStrategy[Any]) -> SearchStrategy[list[Any]]:
    return st.lists(inner, max_size=4)


def _dictionaries(inner: SearchStrategy[Any]) -> SearchStrategy[dict[Any, Any]]:
    return st.dictionaries(keys(), inner, max_size=4)


def _source() -> SearchStrategy[dict[str, Any]]:
    location = st.fixed_dictionaries({"type": st.just("s3"), "uri": texts()}, optional={"bucketOwner": texts()})
    return _typed(bytes=st.binary(max_size=200)) | _typed(location=location)


def _media(*formats: str) -> SearchStrategy[dict[str, Any]]:
    return _typed(format=st.sampled_from(formats), source=_source())


def _document() -> SearchStrategy[dict[str, Any]]:
    optional = {"citations": st.none() | _typed(enabled=st.booleans()), "context": st.none() | texts()}
    required = {"format": st.sampled_from(["pdf", "md"]), "name": texts(), "source": _source()}
    return st.fixed_dictionaries(required, optional=optional)


def _tool_result() -> SearchStrategy[dict[str, Any]]:
    content = st.one_of(
        _typed(text=texts()), _typed(json=json_like()), _typed(image=_media("png")), _typed(document=_document())
    )
    return _typed(toolUseId=texts(), status=st.sampled_from(["success", "error"]), content=_lists(content))


def _reasoning() -> SearchStrategy[dict[str, Any]]:
    text = _typed(text=texts(), signature=st.none() | texts())
    return _typed(reasoningText=text) | _typed(redactedContent=st.binary(max_size=40))

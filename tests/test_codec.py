from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import bson
import pytest
from bson import Binary, DBRef, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection

from mongodb_session_manager.codec import MAX_LEVELS, decode, encode, size
from tests.strategies import (
    AWKWARD_FLOATS,
    AWKWARD_INTEGERS,
    AWKWARD_KEYS,
    AWKWARD_TEXT,
    identical,
    json_like,
    lookalikes,
    messages,
    nested,
    plain_json,
)

Documents = Collection[dict[str, Any]]

# One example here sends a whole batch of values, so fewer of them show as much.
on_the_server = settings(
    max_examples=max(10, settings().max_examples // 20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

BERLIN = ZoneInfo("Europe/Berlin")
INSTANTS = [
    datetime(2024, 2, 29, 23, 59, 59, 999_999),  # noqa: DTZ001 -- naive on purpose
    datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-7, seconds=-1, microseconds=-5))),
    datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
    datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
    datetime.max.replace(tzinfo=UTC),
]
EMPTY_OR_SCALAR: list[Any] = [[], {}, 1, 2**64]
AWKWARD: list[Any] = [
    *AWKWARD_TEXT,
    *AWKWARD_INTEGERS,
    *AWKWARD_FLOATS,
    *INSTANTS,
    *({key: {"nested": [{key: key}]}} for key in AWKWARD_KEYS),
    *({"before": 0, key: [1], "after": {}} for key in AWKWARD_KEYS),
    *({key: 1, "text": "t"} for key in (0, -1, 2**70, 1.0, 1.5, float("inf"), True, False, None)),
    2**20_000,
    *(nested(depth, bottom) for depth in (77, 78, 79, 80, 81, 500) for bottom in EMPTY_OR_SCALAR),
    *(nested(depth, 1, lambda inner: {"a": inner, "$": 1}) for depth in (1, 31, 32, 33, 200)),
    {1: "int", "1": "text", 2.0: "float", None: "none", "None": "text", False: "false"},
    {"__json__": {"__json__": '{"__json__":"1"}'}},
    {"__bytes_encoded__": True, "data": "aGk=", "more": b"\0\xff"},
    {"$ref": "c", "$id": ObjectId("0123456789abcdef01234567"), "when": INSTANTS[3], "$db": b"x", "huge": -(2**100)},
    {"\0": [float("nan"), -0.0, 1, True, 1.0, b"", "\ud83d\ude00", None, [], {}]},
]

Suit = StrEnum("Suit", ["HEARTS"])
Rank = IntEnum("Rank", ["ACE"])
Point = namedtuple("Point", ["x", "y"])


class Shouting(str):
    def __str__(self) -> str:
        return self.upper()


def through_bson(value: object) -> Any:
    return decode(bson.decode(bson.encode({"v": encode(value)}))["v"])


def containers(value: object) -> set[int]:
    found, queue = set(), [value]
    for node in queue:
        if isinstance(node, dict | list):
            found.add(id(node))
            queue.extend(node.values() if isinstance(node, dict) else node)
    return found


def levels(value: object) -> int:
    children = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(levels, children), default=0)


@given(messages())
def test_a_message_comes_back_equal(message: object) -> None:
    assert identical(through_bson(message), message)


@given(json_like())
def test_any_value_comes_back_equal(value: object) -> None:
    assert identical(through_bson(value), value)


@pytest.mark.parametrize("value", AWKWARD, ids=range(len(AWKWARD)))
def test_an_awkward_value_comes_back_equal(value: object) -> None:
    assert identical(through_bson(value), value)


@given(json_like())
def test_encoding_what_was_decoded_gives_the_same_stored_value(value: object) -> None:
    stored = encode(value)
    assert identical(encode(decode(stored)), stored)


@given(json_like())
def test_a_stored_value_is_itself_a_value_that_can_be_stored(value: object) -> None:
    assert identical(decode(decode(encode(encode(value)))), value)


@given(json_like())
def test_nothing_mutable_is_shared_with_the_input(value: object) -> None:
    stored = encode(value)
    restored = decode(stored)
    assert containers(value).isdisjoint(containers(stored))
    assert containers(stored).isdisjoint(containers(restored))


@given(json_like())
def test_a_stored_value_is_never_deeper_than_the_limit(value: object) -> None:
    assert levels(encode(value)) <= MAX_LEVELS


@pytest.mark.parametrize("depth", range(MAX_LEVELS - 3, MAX_LEVELS + 3))
@pytest.mark.parametrize("bottom", [1, 2**64, [], {"$": 1}])
def test_the_wrapping_itself_stays_within_the_limit(depth: int, bottom: object) -> None:
    assert levels(encode(nested(depth, bottom))) <= MAX_LEVELS


@given(plain_json())
def test_what_bson_holds_is_stored_plain(value: object) -> None:
    assert identical(encode(value), value)


def test_an_ordinary_message_is_stored_plain() -> None:
    tool_input = {"query": "Köln", "limit": 10, "filters": {"a.b": [1, 2.5, None, True]}, "": "empty", "a.$b": "\0"}
    message = {
        "role": "assistant",
        "content": [
            {"text": "$5 for a grüße 😀\0"},
            {"image": {"format": "png", "source": {"bytes": b"\x89PNG\0"}}},
            {"toolUse": {"toolUseId": "t1", "name": "search", "input": tool_input}},
            {"cachePoint": {"type": "default"}},
        ],
        "tracking_id": "3f0e8a52-7c3e-4d0b-8a53-1d2a5a0f7f11",
        "metadata": {"usage": {"inputTokens": 2**40}, "custom": {"__json__": "not alone", "x": 1}},
    }
    assert identical(encode(message), message)


def test_only_the_value_that_needs_it_is_wrapped() -> None:
    message = {"content": [{"toolUse": {"name": "n", "input": {"plain": {"a.b": 1}, "odd": {"$gt": 5}, "big": 2**64}}}]}
    tool_input = {"plain": {"a.b": 1}, "odd": {"__json__": '{"$dict":[["$gt",5]]}'}}
    tool_input["big"] = {"__json__": '{"$int":"0x10000000000000000"}'}
    assert encode(message) == {"content": [{"toolUse": {"name": "n", "input": tool_input}}]}


# Databases hold these forms: a change here makes stored sessions unreadable.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**63, '{"$int":"0x8000000000000000"}'),
        (-(2**63) - 1, '{"$int":"-0x8000000000000001"}'),
        ("\ud800", '"\\ud800"'),
        ("é\ud83d\ude00", '{"$str":["\\u00e9\\ud83d","\\ude00"]}'),
        (INSTANTS[0], '{"$datetime":["2024-02-29T23:59:59.999999",null,null,0]}'),
        (INSTANTS[4], '{"$datetime":["2024-10-27T02:30:00",3600.0,"Europe/Berlin",1]}'),
        ({"$a": 1, "b": b"\xff"}, '{"$a":1,"b":{"$bytes":"/w=="}}'),
        ({"$a": 1}, '{"$dict":[["$a",1]]}'),
        ({"a\0": [1.0, -0.0, float("inf")]}, '{"a\\u0000":[1.0,-0.0,{"$float":"inf"}]}'),
        ({1: "a", None: 2}, '{"$dict":[[1,"a"],[null,2]]}'),
        ({"__json__": 1}, '{"__json__":1}'),
        ({"__bytes_encoded__": True, "data": "aGk="}, '{"__bytes_encoded__":true,"data":"aGk="}'),
        ({"$": 0, "r": MaxKey()}, '{"$":0,"r":{"$bson":"CAAAAH92AAA="}}'),
        ({"$": 0, "a": nested(32, 7)}, '{"$parts":[{"$":0,"a":' + "[" * 31 + '{"$part":1}' + "]" * 31 + "},[7]]}"),
    ],
)
def test_the_wrapped_form_is_fixed(value: object, text: str) -> None:
    assert encode(value) == {"__json__": text}
    assert identical(decode({"__json__": text}), value)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ((1, (2, [3])), [1, [2, [3]]]),
        (Point(1, 2), [1, 2]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (Suit.HEARTS, "hearts"),
        (Shouting("quiet"), "quiet"),
        (Shouting("\ud800"), "\ud800"),
        (Rank.ACE, 1),
        (Int64(5), 5),
        (type("Money", (float,), {})(1.5), 1.5),
        (type("Blob", (bytes,), {})(b"b"), b"b"),
        (Binary(b"b", 0), b"b"),
        (OrderedDict(b=1, a={}), {"b": 1, "a": {}}),
        ({Suit.HEARTS: {Rank.ACE: Suit.HEARTS}}, {"hearts": {1: "hearts"}}),
        ({"$": (1, bytearray(b"a"), Suit.HEARTS, Rank.ACE, OrderedDict(a=1))}, {"$": [1, b"a", "hearts", 1, {"a": 1}]}),
    ],
)
def test_kin_of_the_json_types_come_back_as_those(value: object, plain: object) -> None:
    assert identical(through_bson(value), plain)


def test_text_keys_of_a_subclass_are_stored_plain() -> None:
    assert identical(encode({Suit.HEARTS: 1}), {"hearts": 1})


@pytest.mark.parametrize("depth", [900, 20_000])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: {1: inner, "$": 2}])
def test_no_depth_exhausts_the_stack(depth: int, wrap: Callable[[object], object]) -> None:
    value = nested(depth, "bottom", wrap)
    assert identical(below_a_deep_stack(400, lambda: through_bson(value)), value)


def below_a_deep_stack(frames: int, call: Callable[[], Any]) -> Any:
    return call() if frames == 0 else below_a_deep_stack(frames - 1, call)


@pytest.mark.parametrize(
    ("part", "name"),
    [({"secret"}, "set"), (Decimal("1"), "decimal.Decimal"), (object(), "object"), (DBRef("a", 1), "bson.dbref.DBRef")],
)
@pytest.mark.parametrize("beside", [{}, {"$": 1}])
def test_a_type_that_cannot_be_stored_is_refused_by_place_and_name(part: object, name: str, beside: Any) -> None:
    value = {"content": [{"text": "secret"}, {"toolUse": {**beside, "input": (0, part)}}]}
    with pytest.raises(TypeError) as raised:
        encode(value)
    assert str(raised.value).startswith(
        f"value['content'][1]['toolUse']['input'][1] is of type {name}, which cannot be stored"
    )
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "name"),
    [(("secret",), "tuple"), (b"secret", "bytes"), (ObjectId(), "bson.objectid.ObjectId"), (UTC, "datetime.timezone")],
)
@pytest.mark.parametrize("beside", [{}, {"$": 1}])
def test_a_key_that_cannot_be_stored_is_refused_by_place_and_name(key: object, name: str, beside: Any) -> None:
    with pytest.raises(TypeError) as raised:
        encode({**beside, "state": [{"a": 1, key: "secret"}]})
    assert str(raised.value).startswith(
        f"value['state'][0] has a key of type {type(key).__name__}".split(" of type")[0]
    )
    assert type(key).__name__ in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_refused_value_far_down_is_found() -> None:
    with pytest.raises(TypeError, match=r"^value(\[0\]){1500} is of type set"):
        encode(nested(1500, set()))


@pytest.mark.parametrize("beside", [[], ["\ud800"], [{"$": 1}]])
def test_a_container_that_holds_itself_is_refused(beside: list[Any]) -> None:
    inner: list[Any] = [*beside]
    inner.extend([inner, inner])
    with pytest.raises(ValueError, match=r"^value\['a'\] contains itself and cannot be stored$"):
        encode({"a": inner})


@pytest.mark.parametrize("key", ["a", "$a"])
def test_a_container_used_twice_is_stored_twice(key: str) -> None:
    shared = [1]
    restored = through_bson({key: shared, "b": [shared]})
    assert restored == {key: [1], "b": [[1]]}
    assert restored[key] is not restored["b"][0]


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        ({"__bytes_encoded__": True, "data": "AP8="}, b"\x00\xff"),
        ({"__bytes_encoded__": True, "data": ""}, b""),
        ({"__bytes_encoded__": True, "data": "AP8=", "note": "the SDK decodes this too"}, b"\x00\xff"),
        ({"source": {"bytes": {"data": "AP8=", "__bytes_encoded__": True}}}, {"source": {"bytes": b"\x00\xff"}}),
        (Int64(5), 5),
        ([{"n": Int64(2**40)}], [{"n": 2**40}]),
        (DBRef("#/x", 1, "d", extra=Int64(2)), {"$ref": "#/x", "$id": 1, "$db": "d", "extra": 2}),
    ],
)  # fmt: skip
def test_what_older_tools_wrote_is_decoded(stored: object, value: object) -> None:
    assert identical(decode(stored), value)
    assert identical(through_bson(decode(stored)), value)


DRIVER_VALUES = [
    ObjectId("0123456789abcdef01234567"), Decimal128("1.50"), Regex("a.*", "i"), Timestamp(1, 2), MaxKey(),
    Binary(b"0123456789abcdef", 4),
]  # fmt: skip


@pytest.mark.parametrize("value", [*DRIVER_VALUES, *INSTANTS], ids=str)
def test_what_the_driver_reads_is_returned_as_it_is_and_can_be_stored_again(value: object) -> None:
    assert identical(decode({"a": [value]}), {"a": [value]})
    assert identical(through_bson({"a": [value], "b": {"$odd": value}}), {"a": [value], "b": {"$odd": value}})


@pytest.mark.parametrize(
    "stored",
    [
        {"__bytes_encoded__": True, "data": "no base64"},
        {"__bytes_encoded__": True, "data": "AP8"},
        {"__bytes_encoded__": True, "data": "ÄÖ=="},
        {"__bytes_encoded__": True, "data": 5},
        {"__bytes_encoded__": True, "data": None},
        {"__bytes_encoded__": True},
        {"__bytes_encoded__": False, "data": "AP8="},
        {"__bytes_encoded__": 1, "data": "AP8="},
    ],
)
def test_what_only_resembles_the_encoding_of_the_sdk_stays_what_it_is(stored: object) -> None:
    assert identical(decode(stored), stored)
    assert identical(through_bson(stored), stored)


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "nul", "[1,]", '{"$new":1}', '{"$int":"xyz"}', '{"$int":5}', '{"$float":[]}', '{"$bytes":"?"}',
        '{"$bytes":1}', '{"$str":[1]}', '{"$dict":5}', '{"$dict":[[1]]}', '{"$dict":[[[],1]]}', '{"$part":0}',
        '{"$parts":[]}', '{"$parts":5}', '{"$parts":[{"$part":0}]}', '{"$datetime":["2024-01-01",null,null]}',
        '{"$datetime":[5,null,null,0]}', '{"$datetime":["2024-01-01",null,null,7]}', '{"$bson":"AAAA"}',
        '{"$bson":"BQAAAAA="}', '{"$parts":[[{"$part":1},{"$part":1}],[]]}',
        "1" * 5000, None, 5, ["a"], {"a": 1}, b"1",
    ],
    ids=lambda content: repr(content)[:30],
)  # fmt: skip
def test_a_tag_with_unreadable_content_stays_what_it_is(content: object) -> None:
    stored = {"__json__": content}
    assert identical(decode([stored]), [stored])
    assert identical(through_bson(stored), stored)


@given(lookalikes())
def test_whatever_looks_like_a_tag_decodes_without_an_error(stored: object) -> None:
    decode(stored)
    decode({"__json__": json.dumps(stored)})


def test_a_zone_that_this_machine_does_not_know_leaves_the_offset() -> None:
    stored = {"__json__": '{"$datetime":["2024-07-01T12:00:00",18000.0,"Mars/Olympus",0]}'}
    assert identical(decode(stored), datetime(2024, 7, 1, 12, tzinfo=timezone(timedelta(hours=5))))


def test_size_counts_the_bytes_that_the_value_takes() -> None:
    assert size(encode("")) == 13
    assert size(encode({"a": b"x" * 1000})) - size(encode({"a": b""})) == 1000


Write = Callable[[Documents, list[Any]], None]


def insert(documents: Documents, stored: list[Any]) -> None:
    documents.insert_one({"_id": 1, "agents": {"a": {"messages": [{"message": value} for value in stored]}}})


def push(documents: Documents, stored: list[Any]) -> None:
    documents.insert_one({"_id": 1})
    for value in stored[:5]:
        documents.update_one({"_id": 1}, {"$push": {"agents.a.messages": {"message": value}}})
    rest = {"$each": [{"message": value} for value in stored[5:]], "$slice": -10_000}
    documents.update_one({"_id": 1}, {"$push": {"agents.a.messages": rest}})


def set_nested(documents: Documents, stored: list[Any]) -> None:
    documents.insert_one({"_id": 1, "agents": {"a": {"messages": [{"message": 0} for _ in stored]}}})
    fields = {f"agents.a.messages.{number}.message": value for number, value in enumerate(stored)}
    documents.update_one({"_id": 1}, {"$set": {"touched": True, **fields}})


def upsert(documents: Documents, stored: list[Any]) -> None:
    update = {
        "$push": {"agents.a.messages": {"$each": [{"message": value} for value in stored]}},
        "$set": {"agents.a.agent_data": {"state": stored}},
        "$setOnInsert": {"metadata": {"stored": stored}},
    }
    documents.update_one({"_id": 1, "agents.a.revision": {"$exists": False}}, update, upsert=True)
    document = documents.find_one({"_id": 1}) or {}
    assert identical(document["agents"]["a"]["agent_data"]["state"], document["metadata"]["stored"])


writes = pytest.mark.parametrize("write", [insert, push, set_nested, upsert])


def through_the_server(documents: Documents, write: Write, values: list[Any]) -> list[Any]:
    documents.delete_many({})
    write(documents, [encode(value) for value in values])
    computed = {"tail": {"$slice": [{"$ifNull": ["$agents.a.messages", []]}, 10_000]}}
    [document] = documents.find({"_id": 1}, computed)
    return [decode(message["message"]) for message in document.get("tail", [])]


@writes
@on_the_server
@given(values=st.lists(messages() | json_like(), min_size=1, max_size=20))
def test_values_come_back_equal_from_the_server(collection: Documents, write: Write, values: list[Any]) -> None:
    assert identical(through_the_server(collection, write, values), values)


@writes
def test_awkward_values_come_back_equal_from_the_server(collection: Documents, write: Write) -> None:
    values = [*AWKWARD, nested(5000, 1), *({"a": value} for value in DRIVER_VALUES)]
    assert identical(through_the_server(collection, write, values), values)


def test_a_stored_value_can_be_queried(collection: Documents) -> None:
    collection.insert_one({"_id": 1, "message": encode({"content": [{"text": "hello"}], "odd": {"$a": 1}})})
    assert collection.count_documents({"message.content.text": "hello"}) == 1

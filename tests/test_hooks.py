"""Hooks around metadata and feedback."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from strands import Agent

from mongodb_session_manager import MongoDBSessionManager, MongoDBSessionManagerFactory
from mongodb_session_manager.hooks import Hook
from tests.commands import Commands
from tests.models import ScriptedModel

Document = Callable[[str], Any]
Call = tuple[str, str, dict[str, Any]]


class Recorder:
    """A hook that notes how it was called and lets everything pass."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __call__(self, original_func: Callable[..., Any], action: str, session_id: str, **kwargs: Any) -> Any:
        self.calls.append((action, session_id, kwargs))
        return original_func(*kwargs.values())


def test_a_metadata_hook_hears_of_every_action(factory: MongoDBSessionManagerFactory) -> None:
    hook = Recorder()
    manager = factory.create_session_manager("s", metadata_hook=hook)
    manager.update_metadata({"a": 1})
    assert manager.get_metadata() == {"a": 1}
    manager.delete_metadata(["a"])
    manager.add_feedback({"rating": "up"})

    assert hook.calls == [
        ("update", "s", {"metadata": {"a": 1}}),
        ("get", "s", {}),
        ("delete", "s", {"keys": ["a"]}),
    ]
    assert factory.sessions.metadata("s") == {}


def test_a_feedback_hook_hears_of_feedback_only(factory: MongoDBSessionManagerFactory) -> None:
    hook = Recorder()
    manager = factory.create_session_manager("s", feedback_hook=hook)
    manager.add_feedback({"rating": "up"})
    manager.get_feedbacks()
    manager.update_metadata({"a": 1})

    assert hook.calls == [("add", "s", {"feedback": {"rating": "up"}})]
    assert [feedback["rating"] for feedback in manager.get_feedbacks()] == ["up"]


def test_a_hook_may_replace_what_is_stored_and_what_is_returned(factory: MongoDBSessionManagerFactory) -> None:
    def shouting(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        if action == "get":
            return {**original_func(), "seen_by": "hook"}
        if action == "delete":
            return original_func([key.upper() for key in kwargs["keys"]])
        original_func({key.upper(): value for key, value in kwargs["metadata"].items()})
        return "stored"

    manager = factory.create_session_manager("s", metadata_hook=shouting)

    assert manager.update_metadata({"a": 1, "b": 2}) == "stored"
    assert manager.delete_metadata(["a"]) is None
    assert manager.get_metadata() == {"B": 2, "seen_by": "hook"}


def test_a_hook_that_raises_vetoes(factory: MongoDBSessionManagerFactory, stored: Document) -> None:
    def veto(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        raise PermissionError(f"no {action}")

    manager = factory.create_session_manager("s", metadata_hook=veto, feedback_hook=veto)
    actions: dict[str, Callable[[], Any]] = {
        "update": partial(manager.update_metadata, {"a": 1}),
        "get": manager.get_metadata,
        "delete": partial(manager.delete_metadata, ["a"]),
        "add": partial(manager.add_feedback, {"rating": "up"}),
    }
    for action, do in actions.items():
        with pytest.raises(PermissionError, match=f"no {action}"):
            do()
    assert stored("s") is None


def test_a_hook_that_does_not_call_on_stores_nothing(factory: MongoDBSessionManagerFactory, stored: Document) -> None:
    manager = factory.create_session_manager("s", metadata_hook=lambda original_func, action, session_id, **kw: None)
    manager.update_metadata({"a": 1})

    assert stored("s") is None


def test_hooks_chain_from_the_outside_in(factory: MongoDBSessionManagerFactory) -> None:
    def adding(name: str) -> Hook:
        def hook(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
            if action == "get":
                return {**original_func(), "returned_by": name}
            return f"{name}({original_func({**kwargs['metadata'], 'path': kwargs['metadata']['path'] + name})})"

        return hook

    manager = factory.create_session_manager("s", metadata_hook=[adding("a"), adding("b"), adding("c")])

    assert manager.update_metadata({"path": ""}) == "a(b(c(None)))"
    assert manager.get_metadata() == {"path": "abc", "returned_by": "a"}


def test_a_veto_in_the_chain_stops_what_is_inside(factory: MongoDBSessionManagerFactory, stored: Document) -> None:
    outer, inner = Recorder(), Recorder()

    def veto(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        raise PermissionError

    manager = factory.create_session_manager("s", feedback_hook=(outer, veto, inner))
    with pytest.raises(PermissionError):
        manager.add_feedback({"rating": "up"})

    assert (len(outer.calls), len(inner.calls), stored("s")) == (1, 0, None)


def test_no_hooks_are_as_none(factory: MongoDBSessionManagerFactory) -> None:
    manager = factory.create_session_manager("s", metadata_hook=[], feedback_hook=None)
    manager.update_metadata({"a": 1})

    assert manager.get_metadata() == {"a": 1}


async def test_a_plain_hook_runs_whole_off_the_event_loop(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    hook = Recorder()
    manager = factory.create_session_manager("s", metadata_hook=hook, feedback_hook=hook)
    await manager.aio.update_metadata({"a": 1})
    await manager.aio.add_feedback({"rating": "up"})

    assert await manager.aio.get_metadata() == {"a": 1}
    assert [action for action, _, _ in hook.calls] == ["update", "add", "get"]
    assert commands.on_a_loop == []


def test_a_hook_may_use_the_manager_that_called_it(factory: MongoDBSessionManagerFactory) -> None:
    def counting(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        result = original_func(*kwargs.values())
        manager.update_metadata({"feedback_count": len(manager.get_feedbacks())})
        return result

    manager: MongoDBSessionManager = factory.create_session_manager("s", feedback_hook=counting)
    manager.add_feedback({"rating": "up"})
    manager.add_feedback({"rating": "down"})

    assert manager.get_metadata() == {"feedback_count": 2}


def test_the_sdk_calls_no_hook(factory: MongoDBSessionManagerFactory) -> None:
    hook = Recorder()
    manager = factory.create_session_manager("s", metadata_hook=hook, feedback_hook=hook)
    Agent(model=ScriptedModel(), session_manager=manager, callback_handler=None)("hi")
    manager.get_session()

    assert hook.calls == []


@pytest.mark.parametrize("name", ["metadata_hook", "feedback_hook"])
@pytest.mark.parametrize("wrong", ["a string", 7, [None], {"a": 1}], ids=repr)
def test_what_is_no_hook_is_refused(factory: MongoDBSessionManagerFactory, name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=name):
        factory.create_session_manager("s", **{name: wrong})


@pytest.mark.parametrize(
    ("older", "use"),
    [
        ("metadataHook", lambda manager: manager.update_metadata({"a": 1})),
        ("feedbackHook", lambda manager: manager.add_feedback({"rating": "up"})),
    ],
)
def test_the_older_spellings_work_and_warn(
    factory: MongoDBSessionManagerFactory, older: str, use: Callable[[MongoDBSessionManager], None]
) -> None:
    hook = Recorder()
    options: dict[str, Any] = {older: hook}
    with pytest.warns(DeprecationWarning, match=f"{older} is deprecated") as warned:
        manager = factory.create_session_manager("s", **options)
    use(manager)

    assert len(hook.calls) == 1
    assert len(warned) == 1


def test_the_newer_spelling_wins_over_the_older(factory: MongoDBSessionManagerFactory) -> None:
    newer, older = Recorder(), Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        manager = factory.create_session_manager("s", metadata_hook=newer, metadataHook=older)
    manager.update_metadata({"a": 1})

    assert (len(newer.calls), len(older.calls)) == (1, 0)


def test_the_older_spellings_work_with_a_connection_string_too(mongo_uri: str, collection: Any) -> None:
    hook = Recorder()
    with pytest.warns(DeprecationWarning, match="metadataHook"):
        manager = MongoDBSessionManager("s", mongo_uri, "tests", collection.name, metadataHook=hook)
    with manager:
        manager.update_metadata({"a": 1})

    assert len(hook.calls) == 1

"""Hooks around metadata and feedback."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient
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


# Coroutine functions


async def passing(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
    return await original_func(*kwargs.values())


class AsyncRecorder(Recorder):
    """The same as a coroutine function, and where it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.threads: list[threading.Thread] = []

    async def __call__(self, original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        self.calls.append((action, session_id, kwargs))
        self.loops.append(asyncio.get_running_loop())
        self.threads.append(threading.current_thread())
        return await original_func(*kwargs.values())


ACTIONS: list[tuple[str, str, tuple[Any, ...]]] = [
    ("update", "update_metadata", ({"a": 1, "b": 2},)),
    ("delete", "delete_metadata", (["a"],)),
    ("get", "get_metadata", ()),
    ("add", "add_feedback", ({"rating": "up"},)),
]
CALLS: list[Call] = [
    ("update", "s", {"metadata": {"a": 1, "b": 2}}),
    ("delete", "s", {"keys": ["a"]}),
    ("get", "s", {}),
    ("add", "s", {"feedback": {"rating": "up"}}),
]


async def test_a_coroutine_function_runs_on_the_callers_loop_and_its_commands_do_not(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    hook = AsyncRecorder()
    manager = factory.create_session_manager("s", metadata_hook=hook, feedback_hook=hook)
    results = [await getattr(manager.aio, method)(*value) for _, method, value in ACTIONS]

    assert results == [None, None, {"b": 2}, None]
    assert hook.calls == CALLS
    assert {*hook.loops} == {asyncio.get_running_loop()}
    assert {*hook.threads} == {threading.current_thread()}
    assert {"findAndModify", "find"} <= {*commands.names}
    assert commands.on_a_loop == []


def test_through_the_synchronous_form_it_runs_on_a_loop_of_its_own_in_another_thread(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    hook = AsyncRecorder()
    manager = factory.create_session_manager("s", metadata_hook=hook, feedback_hook=hook)
    results = [getattr(manager, method)(*value) for _, method, value in ACTIONS]

    assert results == [None, None, {"b": 2}, None]
    assert hook.calls == CALLS
    assert threading.current_thread() not in hook.threads
    assert all(loop.is_closed() for loop in hook.loops)
    assert {"findAndModify", "find"} <= {*commands.names}
    assert commands.on_a_loop == []


async def test_through_the_synchronous_form_it_needs_nothing_of_a_loop_that_the_caller_blocks(
    factory: MongoDBSessionManagerFactory, commands: Commands
) -> None:
    hook = AsyncRecorder()
    manager = factory.create_session_manager("s", metadata_hook=hook)
    with commands.unwatched():  # to block the loop is what this caller does
        manager.update_metadata({"a": 1})
        assert manager.get_metadata() == {"a": 1}

    assert asyncio.get_running_loop() not in hook.loops


def noting(name: str, is_coroutine: bool, notes: list[str], loops: set[Any]) -> Hook:
    def note() -> None:
        loop = asyncio._get_running_loop()
        assert (loop is not None) == is_coroutine
        notes.append(name)
        loops.add(loop)

    def plain(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        note()
        result = original_func({"path": kwargs["metadata"]["path"] + name})
        return f"{name}({result})"

    async def coroutine(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        note()
        result = await original_func({"path": kwargs["metadata"]["path"] + name})
        await asyncio.sleep(0)
        note()
        notes.pop()
        return f"{name}({result})"

    return coroutine if is_coroutine else plain


def kinds() -> Iterator[tuple[bool, ...]]:
    for length in (1, 2, 3, 4):
        yield from itertools.product([False, True], repeat=length)


async def test_every_mixture_is_a_chain(factory: MongoDBSessionManagerFactory) -> None:
    for number, mixture in enumerate(kinds()):
        notes: list[str] = []
        loops: set[Any] = set()
        hooks = [noting("abcd"[place], kind, notes, loops) for place, kind in enumerate(mixture)]
        manager = factory.create_session_manager(f"s{number}", metadata_hook=hooks)
        names = "abcd"[: len(mixture)]
        wrapped = "".join(f"{name}(" for name in names) + "None" + ")" * len(names)

        assert await manager.aio.update_metadata({"path": ""}) == wrapped
        assert loops <= {None, asyncio.get_running_loop()}
        assert await asyncio.to_thread(manager.update_metadata, {"path": ""}) == wrapped
        assert notes == [*names, *names]
        assert (await factory.sessions.aio.metadata(f"s{number}")) == {"path": names}


@pytest.mark.parametrize("mixture", [(False, True), (False, True, False, True), (True, False, True)], ids=str)
async def test_a_chain_needs_no_more_threads_than_it_holds(
    mongo_uri: str, collection: Any, mixture: tuple[bool, ...]
) -> None:
    notes: list[str] = []
    hooks: list[Hook] = [noting("abcd"[place], kind, notes, set()) for place, kind in enumerate(mixture)]

    async def asking(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        before = await other.aio.get_metadata()
        both = await asyncio.gather(original_func(*kwargs.values()), other.aio.update_metadata({"before": before}))
        return both[0]

    with MongoClient[Any](mongo_uri, maxPoolSize=1) as client:
        factory = MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name=collection.name)
        other = factory.create_session_manager("other")
        manager = factory.create_session_manager("s", metadata_hook=[*hooks, asking])
        calls = [manager.aio.update_metadata({"path": ""}) for _ in range(5)]
        results = await asyncio.wait_for(asyncio.gather(*calls), 20)

        assert len({*results}) == 1
        assert await other.aio.get_metadata() != {}


async def test_a_plain_hook_inside_may_run_a_loop_of_its_own(factory: MongoDBSessionManagerFactory) -> None:
    other = factory.create_session_manager("other")

    def asking(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        asyncio.run(other.aio.update_metadata({"asked": True}))
        return original_func(*kwargs.values())

    manager = factory.create_session_manager("s", metadata_hook=[Recorder(), passing, asking])
    await asyncio.wait_for(manager.aio.update_metadata({"a": 1}), 20)
    await asyncio.wait_for(asyncio.to_thread(manager.update_metadata, {"a": 2}), 20)

    assert await other.aio.get_metadata() == {"asked": True}


async def test_a_coroutine_function_that_waits_holds_no_thread(mongo_uri: str, collection: Any) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def waiting(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await original_func(*kwargs.values())

    with MongoClient[Any](mongo_uri, maxPoolSize=1) as client:
        factory = MongoDBSessionManagerFactory(client=client, database_name="tests", collection_name=collection.name)
        manager = factory.create_session_manager("s", metadata_hook=waiting)
        update = asyncio.create_task(manager.aio.update_metadata({"a": 1}))
        await reached.wait()
        assert await asyncio.wait_for(manager.aio.get_feedbacks(), 10) == []
        go_on.set()
        await update


def test_a_coroutine_function_that_raises_vetoes_in_either_form(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    async def veto(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        raise PermissionError(f"no {action}")

    outer = Recorder()
    for hooks in ([veto], [veto, outer], [outer, veto], [passing, veto]):
        manager = factory.create_session_manager("s", metadata_hook=hooks, feedback_hook=hooks)
        for action, method, value in ACTIONS:
            with pytest.raises(PermissionError, match=f"no {action}"):
                getattr(manager, method)(*value)
            with pytest.raises(PermissionError, match=f"no {action}"):
                asyncio.run(getattr(manager.aio, method)(*value))
    assert stored("s") is None


async def test_what_the_store_raises_reaches_a_coroutine_function_and_the_caller(
    factory: MongoDBSessionManagerFactory,
) -> None:
    seen: list[str] = []

    async def looking(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        try:
            return await original_func(*kwargs.values())
        except ValueError as error:
            seen.append(type(error).__name__)
            raise

    manager = factory.create_session_manager("s", metadata_hook=[looking, Recorder(), looking])
    with pytest.raises(ValueError, match=r"\$bad"):
        await manager.aio.update_metadata({"$bad": 1})
    with pytest.raises(ValueError, match=r"\$bad"):
        await asyncio.to_thread(manager.update_metadata, {"$bad": 1})
    assert seen == ["ValueError"] * 4


async def test_a_writing_action_on_a_new_session_creates_it_in_either_form(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    writing: dict[str, Any] = {"update_metadata": {"a": 1}, "add_feedback": {"rating": "up"}, "delete_metadata": ["a"]}
    for method, value in writing.items():
        for hooks in ([passing], [Recorder(), passing]):
            awaited, called = f"{method}-{len(hooks)}-aio", f"{method}-{len(hooks)}"
            options: dict[str, Any] = {"metadata_hook": hooks, "feedback_hook": hooks, "title": "t"}
            await getattr(factory.create_session_manager(awaited, **options).aio, method)(value)
            await asyncio.to_thread(getattr(factory.create_session_manager(called, **options), method), value)

            assert (stored(awaited)["title"], stored(called)["title"]) == ("t", "t")


async def test_context_variables_reach_every_hook_and_what_a_hook_sets_reaches_what_is_inside(
    factory: MongoDBSessionManagerFactory,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []

    def plain(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        seen.append(variable.get())
        variable.set(variable.get() + "p")
        return original_func(*kwargs.values())

    async def coroutine(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        seen.append(variable.get())
        variable.set(variable.get() + "c")
        return await original_func(*kwargs.values())

    manager = factory.create_session_manager("s", metadata_hook=[plain, coroutine, plain, coroutine, coroutine, plain])
    variable.set("x")
    await manager.aio.get_metadata()
    variable.set("y")
    await asyncio.to_thread(manager.get_metadata)

    assert seen == [f"{first}{path}" for first in "xy" for path in ("", "p", "pc", "pcp", "pcpc", "pcpcc")]


async def test_a_coroutine_function_may_use_the_manager_that_called_it(factory: MongoDBSessionManagerFactory) -> None:
    async def counting(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        result = await original_func(*kwargs.values())
        await manager.aio.update_metadata({"feedback_count": len(await manager.aio.get_feedbacks())})
        return result

    manager: MongoDBSessionManager = factory.create_session_manager("s", feedback_hook=counting)
    await manager.aio.add_feedback({"rating": "up"})
    await asyncio.to_thread(manager.add_feedback, {"rating": "down"})

    assert await manager.aio.get_metadata() == {"feedback_count": 2}


async def test_what_is_under_way_is_stored_though_the_awaiting_task_is_cancelled(
    factory: MongoDBSessionManagerFactory,
) -> None:
    for hooks in ([passing], [Recorder(), passing], [passing, Recorder()]):
        inside, go_on = threading.Event(), threading.Event()

        def holding(
            original_func: Any,
            action: str,
            session_id: str,
            *,
            inside: threading.Event = inside,
            go_on: threading.Event = go_on,
            **kwargs: Any,
        ) -> Any:
            inside.set()
            go_on.wait(10)
            return original_func(*kwargs.values())

        session_id = f"s{len(hooks)}{hooks[0] is passing}"
        manager = factory.create_session_manager(session_id, metadata_hook=[*hooks, holding])
        task = asyncio.create_task(manager.aio.update_metadata({"a": 1}))
        await asyncio.to_thread(inside.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        until = time.monotonic() + 10
        while not await factory.sessions.aio.metadata(session_id):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)


def test_a_loop_that_ends_frees_the_thread_that_waits_for_a_hook_on_it(factory: MongoDBSessionManagerFactory) -> None:
    ended: list[type[BaseException]] = []
    done = threading.Event()

    def outer(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        try:
            return original_func(*kwargs.values())
        except BaseException as error:
            ended.append(type(error))
            raise
        finally:
            done.set()

    async def begin() -> None:
        reached = asyncio.Event()

        async def endless(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
            reached.set()
            await asyncio.Event().wait()

        manager = factory.create_session_manager("s", metadata_hook=[outer, endless])
        task = asyncio.create_task(manager.aio.update_metadata({"a": 1}))
        await reached.wait()
        task.cancel()

    asyncio.run(begin())

    assert done.wait(10)
    assert ended == [CancelledError]


async def test_what_a_hook_leaves_behind_is_stored_off_the_loop_as_well(factory: MongoDBSessionManagerFactory) -> None:
    later: list[asyncio.Task[Any]] = []
    ended = asyncio.Event()

    async def leaving(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        async def write() -> None:
            await ended.wait()
            await original_func(*kwargs.values())
            await factory.sessions.aio.update_metadata("s", {"more": 2})

        later.append(asyncio.create_task(write()))

    manager = factory.create_session_manager("s", metadata_hook=[Recorder(), leaving])
    await manager.aio.update_metadata({"a": 1})
    ended.set()
    await asyncio.wait_for(later[0], 20)

    assert await factory.sessions.aio.metadata("s") == {"a": 1, "more": 2}


async def test_a_partial_of_a_coroutine_function_is_one_too(factory: MongoDBSessionManagerFactory) -> None:
    async def adding(field: str, original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        return await original_func({**kwargs["metadata"], field: True})

    manager = factory.create_session_manager("s", metadata_hook=partial(adding, "seen"))
    await manager.aio.update_metadata({"a": 1})

    assert await factory.sessions.aio.metadata("s") == {"a": 1, "seen": True}


def test_a_plain_function_that_returns_a_coroutine_is_told_what_to_be(
    factory: MongoDBSessionManagerFactory, stored: Document
) -> None:
    def wrapping(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        return passing(original_func, action, session_id, **kwargs)

    manager = factory.create_session_manager("s", metadata_hook=wrapping)
    with pytest.raises(TypeError, match="async def"):
        manager.update_metadata({"a": 1})
    with pytest.raises(TypeError, match="async def"):
        asyncio.run(manager.aio.update_metadata({"a": 1}))
    assert stored("s") is None


def test_more_than_the_action_takes_cannot_be_passed_on(factory: MongoDBSessionManagerFactory) -> None:
    def greedy(original_func: Any, action: str, session_id: str, **kwargs: Any) -> Any:
        return original_func(*kwargs.values(), "more")

    manager = factory.create_session_manager("s", metadata_hook=greedy)
    with pytest.raises(TypeError, match="original_func takes no argument at 'get'"):
        manager.get_metadata()
    with pytest.raises(TypeError, match="original_func takes metadata at 'update'"):
        manager.update_metadata({"a": 1})


async def test_the_awaitable_form_calls_what_a_subclass_made_of_a_method(factory: MongoDBSessionManagerFactory) -> None:
    class Stamping(MongoDBSessionManager):
        def update_metadata(self, metadata: Any) -> Any:
            return super().update_metadata({**metadata, "stamped": True})

    manager = Stamping(
        "s", client=factory.sessions.client, database_name="tests", collection_name=factory.collection_name
    )
    await manager.aio.update_metadata({"a": 1})

    assert await manager.aio.get_metadata() == {"a": 1, "stamped": True}


@pytest.mark.parametrize("form", ["called", "awaited"])
def test_arguments_are_checked_before_any_hook_runs(factory: MongoDBSessionManagerFactory, form: str) -> None:
    hook = Recorder()
    manager = factory.create_session_manager("s", metadata_hook=hook)

    def update(**named: Any) -> Any:
        if form == "called":
            return manager.update_metadata(**named)
        return asyncio.run(manager.aio.update_metadata(**named))

    wrong: list[dict[str, Any]] = [{}, {"metadata": {}, "more": 1}, {"meta": {}}]
    for named in wrong:
        with pytest.raises(TypeError):
            update(**named)
    manager.update_metadata(metadata={"a": 1})

    assert [action for action, _, _ in hook.calls] == ["update"]

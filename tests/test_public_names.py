"""What is public: the names of the package's root and of every module."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import mongodb_session_manager

PROMISED = {
    "FeedbackSNSHook",
    "MetadataSQSHook",
    "MongoDBConnectionPool",
    "MongoDBSessionManager",
    "MongoDBSessionManagerFactory",
    "MongoDBSessionRepository",
    "MongoDBStorage",
    "SessionBusyError",
    "SessionCatalogue",
    "SessionConflictError",
    "SessionError",
    "SessionManager",
    "SessionNotFoundError",
    "SessionStore",
    "SessionTooLargeError",
    "close_global_factory",
    "create_feedback_sns_hook",
    "create_metadata_sqs_hook",
    "create_mongodb_session_manager",
    "get_global_factory",
    "initialize_global_factory",
}
HOMES = {
    "mongodb_session_manager.hooks.feedback_sns_hook": "FeedbackSNSHook",
    "mongodb_session_manager.hooks.metadata_sqs_hook": "MetadataSQSHook",
    "mongodb_session_manager.mongodb_session_factory": "MongoDBSessionManagerFactory",
    "mongodb_session_manager.mongodb_connection_pool": "MongoDBConnectionPool",
    "mongodb_session_manager.mongodb_session_manager": "MongoDBSessionManager",
    "mongodb_session_manager.mongodb_session_repository": "MongoDBSessionRepository",
}
SCRIPTS = {"mongodb_session_manager.embedded.supervisor"}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mongodb_session_manager.__path__, "mongodb_session_manager.")
    if module.name not in SCRIPTS and "._" not in module.name
)


def public_definitions(module: ModuleType) -> set[str]:
    """Classes and functions that a module itself defines under a public name."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }


def test_the_public_names_are_sorted_and_say_what_there_is() -> None:
    names = mongodb_session_manager.__all__

    assert names == sorted(set(names))
    assert [name for name in names if not hasattr(mongodb_session_manager, name)] == []


def test_everything_that_was_promised_is_public() -> None:
    assert PROMISED - {*mongodb_session_manager.__all__} == set()


def test_everything_public_can_be_imported_from_the_root() -> None:
    namespace: dict[str, object] = {}
    exec("from mongodb_session_manager import *", namespace)

    assert {*namespace} - {"__builtins__"} == {*mongodb_session_manager.__all__}


def test_nothing_public_at_the_root_is_left_out() -> None:
    imported = {
        name
        for name, value in vars(mongodb_session_manager).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert imported == {*mongodb_session_manager.__all__}


@pytest.mark.parametrize(("module", "name"), HOMES.items())
def test_a_name_is_found_in_the_module_that_is_known_for_it(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is getattr(mongodb_session_manager, name)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_truly_what_is_public_in_it(name: str) -> None:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)

    assert names is not None, "it has no __all__"
    assert len(names) == len({*names})
    assert [one for one in names if not hasattr(module, one)] == []
    assert sorted(public_definitions(module) - {*names}) == []


@pytest.mark.parametrize("name", mongodb_session_manager.__all__)
def test_everything_public_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(mongodb_session_manager, name)
    members = vars(value).items() if inspect.isclass(value) else ()

    assert value.__doc__
    assert [one for one, member in members if inspect.isfunction(member) and one[0] != "_" and not member.__doc__] == []


def test_every_public_signature_says_its_types() -> None:
    unannotated = [
        f"{name}.{member}({parameter.name})"
        for name in mongodb_session_manager.__all__
        if inspect.isclass(cls := getattr(mongodb_session_manager, name))
        for member, value in vars(cls).items()
        if inspect.isfunction(value) and not member.startswith("_")
        for parameter in list(inspect.signature(value).parameters.values())[1:]
        if parameter.annotation is parameter.empty
    ]

    assert unannotated == []

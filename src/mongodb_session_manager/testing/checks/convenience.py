"""Convenience: what a session manager spares its users."""

from __future__ import annotations

from ..acting import expect, expect_same, expect_texts, new_session, start
from ..processes import started
from ..subject import Subject, offered

__all__ = [
    "check_an_earlier_state_comes_back",
    "check_it_needs_no_server",
]


def check_it_needs_no_server(subject: Subject) -> None:
    """A turn opens no network connection, so there is no server to run."""
    with started(subject, "connections", new_session()) as child:
        said = child.says()
    expect(said is not None, "the other process did not come to the end of its turn")
    expect(said == "no connection", "it connects to a server")


def check_an_earlier_state_comes_back(subject: Subject) -> None:
    """An application notes a state of an agent and brings it back later, in another process."""
    checkpoint = offered(subject.checkpoint, "it has no checkpoints")
    go_back = offered(subject.go_back, "it has no checkpoints")
    session_id = new_session()
    manager = subject.make_session_manager(session_id)
    agent = start(subject, session_id, manager=manager)
    agent.state.set("mood", "good")
    agent("one")
    name = checkpoint(manager, agent)
    agent.state.set("mood", "bad")
    agent("two")
    manager = subject.make_session_manager(session_id)
    agent = start(subject, session_id, manager=manager)
    go_back(manager, agent, name)
    expect_texts(agent, "one", "ok")
    expect_same(agent.state.get(), {"mood": "good"}, "the state")
    agent("another two")
    expect_texts(start(subject, session_id), "one", "ok", "another two", "ok")

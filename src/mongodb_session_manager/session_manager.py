"""The session manager: turns from the lifecycle, and everything an application asks beside them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from strands.types.tools import AgentTool

from .aio import Awaitables
from .background import Background
from .documents import valid_text
from .errors import SessionError, SessionNotFoundError
from .hooks import FeedbackHook, MetadataHook, as_hooks, hooked
from .lifecycle import TurnLifecycle
from .metadata_tool import metadata_tool
from .metrics import summary
from .store import AgentSummary, SessionCatalogue, SessionStore, SessionSummary
from .turn_options import TURN_OPTIONS, TurnOptions
from .views import SessionView, session_view

__all__ = ["SessionManager"]

_AWAITABLE = frozenset(
    {
        "add_feedback",
        "append_message",
        "check_session_exists",
        "close",
        "delete_metadata",
        "get_agent_config",
        "get_feedbacks",
        "get_message_count",
        "get_metadata",
        "get_metrics_summary",
        "get_prompt_lineage",
        "get_session",
        "initialize",
        "initialize_multi_agent",
        "list_agents",
        "redact_latest_message",
        "reload",
        "set_prompt_metadata",
        "sync_agent",
        "sync_multi_agent",
        "update_agent_config",
        "update_metadata",
    }
)


class SessionManager(TurnLifecycle):
    """Persists one session of Strands agents in any store.

    Pass it as ``session_manager`` to an ``Agent``. What an agent says is in the store when the call that made it say so
    returns; see :mod:`mongodb_session_manager.lifecycle` for what is written when.

    Attributes:
        aio: Every method that does I/O in its awaitable form: ``await manager.aio.get_metadata()``.
        application_name: As given; stored with a new session.
    """

    def __init__(
        self,
        session_id: str,
        *,
        store: SessionStore,
        catalogue: SessionCatalogue | None = None,
        background: Background | None = None,
        metadata_hook: MetadataHook | Sequence[MetadataHook] | None = None,
        feedback_hook: FeedbackHook | Sequence[FeedbackHook] | None = None,
        application_name: str | None = None,
        owner: str | None = None,
        title: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Serve one session. No I/O: it is loaded when an agent is made with it.

        Args:
            session_id: Any text that UTF-8 can express, the empty one included.
            store: Where turns are stored.
            catalogue: Where metadata, feedback and views come from; without one those methods raise.
            background: Threads to share; by default those that belong to the store.
            metadata_hook: A hook, or several, around reading and writing metadata.
            feedback_hook: A hook, or several, around adding feedback.
            application_name: Stored with a new session.
            owner: Stored with a new session.
            title: Stored with a new session.
            **kwargs: How turns are kept, as in :class:`TurnOptions`: ``durability``, ``on_busy``, ``busy_timeout``,
                ``on_outage``, ``outage_timeout``, ``binary_content``, ``redacted_originals``, ``turn_timeout``,
                ``turn_limit``. Also the older spellings ``metadataHook`` and ``feedbackHook``.

        Raises:
            TypeError: An argument is unknown, or a hook is not callable.
            ValueError: The session id or another text cannot be stored, or a time is not above 0.
        """
        metadata_hook = _renamed(kwargs, "metadataHook", "metadata_hook", metadata_hook)
        feedback_hook = _renamed(kwargs, "feedbackHook", "feedback_hook", feedback_hook)
        options = TurnOptions(**{name: kwargs.pop(name) for name in TURN_OPTIONS & kwargs.keys()})
        if kwargs:
            raise TypeError(f"unknown arguments: {', '.join(sorted(kwargs))}")
        fields = {"application_name": application_name, "owner": owner, "title": title}
        fields = {name: valid_text(name, value) for name, value in fields.items() if value is not None}
        super().__init__(
            session_id,
            store=store,
            background=background or Background.of(store, store.max_concurrency),
            options=options,
            session_fields=fields,
        )
        self.application_name = application_name
        self._catalogue = catalogue
        self._metadata_hooks = as_hooks(metadata_hook, "metadata_hook")
        self._feedback_hooks = as_hooks(feedback_hook, "feedback_hook")

    @cached_property
    def aio(self) -> Awaitables:
        """The awaitable form of every method that does I/O."""
        return Awaitables(self, self._background, _AWAITABLE)

    @property
    def owner(self) -> str | None:
        """Whose the session is: as stored, once it is loaded, or as given for a new one."""
        return self.unit_of_work.owner

    # Metadata and feedback: single updates outside turns, allowed while one runs

    @hooked("_metadata_hooks", "update", "metadata")
    def update_metadata(self, metadata: Mapping[str, Any]) -> Any:
        """Merge into the session's metadata; dotted keys address nested fields. Creates a session that is not there.

        Returns:
            ``None``, or what the metadata hook returns.

        Raises:
            ValueError: MongoDB cannot address a key.
            SessionNotFoundError: The session was deleted.
        """
        if metadata:
            self.unit_of_work.seen(self._beside_turns.update_metadata(self.session_id, metadata, **self._meant))

    @hooked("_metadata_hooks", "get")
    def get_metadata(self) -> dict[str, Any]:
        """The metadata itself, ``{}`` when there is none."""
        if self.unit_of_work.created_at is not None:
            return self._beside_turns.metadata(self.session_id)
        # The first look also tells which session it is, of all that there may be under this id.
        found = self._stored()
        return {} if found is None else found.metadata

    @hooked("_metadata_hooks", "delete", "keys")
    def delete_metadata(self, metadata_keys: Sequence[str]) -> Any:
        """Remove keys of the metadata; dotted ones address nested fields.

        Raises:
            ValueError: MongoDB cannot address a key.
        """
        if metadata_keys:
            self.unit_of_work.seen(self._beside_turns.delete_metadata(self.session_id, metadata_keys, **self._meant))

    def get_metadata_tool(self, allowed_keys: Sequence[str] | None = None) -> AgentTool:
        """A tool ``manage_metadata`` with which a model reads and writes this session's metadata, through the hooks.

        Args:
            allowed_keys: What it may write and delete, with all fields inside; by default everything. It may read all.

        Raises:
            TypeError: ``allowed_keys`` is not several keys.
        """
        return metadata_tool(self.aio, self.session_id, allowed_keys)

    @hooked("_feedback_hooks", "add", "feedback")
    def add_feedback(self, feedback: Mapping[str, Any]) -> Any:
        """Append feedback, such as ``{"rating": "up", "comment": "…"}``; ``created_at`` is added.

        Raises:
            SessionTooLargeError: The feedback in this session would exceed 1 MB.
        """
        self.unit_of_work.seen(self._beside_turns.add_feedback(self.session_id, feedback, **self._meant))

    def get_feedbacks(self) -> list[dict[str, Any]]:
        """All feedback, oldest first, each with ``created_at``."""
        return self._beside_turns.feedbacks(self.session_id)

    @property
    def _meant(self) -> dict[str, Any]:
        """Which session a write means: a new one, as long as none was seen, or the one that was seen."""
        unit = self.unit_of_work
        return {"create": None if unit.found else unit.session_fields, "created_at": unit.created_at}

    @property
    def _beside_turns(self) -> SessionCatalogue:
        if self._catalogue is None:
            raise SessionError(
                "this session manager has no catalogue; pass catalogue= beside store=", session_id=self.session_id
            )
        return self._catalogue

    # Views

    def get_session(self) -> SessionView | None:
        """The stored session, ``None`` before something was written. Messages are read when asked for."""
        found = self._stored()
        return None if found is None else session_view(found, self._beside_turns)

    def check_session_exists(self) -> bool:
        """Whether something of this session is stored."""
        return self._stored() is not None

    def _stored(self) -> SessionSummary | None:
        found = self._beside_turns.get(self.session_id)
        if found is not None:
            self.unit_of_work.seen(found.created_at if found.is_dated else None)
        return found

    def get_metrics_summary(self, agent_id: str) -> dict[str, Any]:
        """What an agent's conversation has cost: sums over the life of the session. An unknown agent has zeros.

        Returns:
            ``agent_id``, ``model``, ``total_messages``, tokens as ``total_…_tokens``, ``total_model_calls``,
            ``total_tool_calls``, ``total_latency_ms``, and ``average_latency_ms`` per model call.
        """
        agent = self._beside_turns.agent_summary(self.session_id, agent_id)
        if agent is None:
            return summary(agent_id, None, 0, {})
        return summary(agent_id, agent.config.get("model"), agent.message_count, agent.totals)

    def list_agents(self) -> list[dict[str, Any]]:
        """The agents of this session: ``agent_id``, ``name``, ``model``, ``message_count``."""
        found = self._stored()
        return [
            {
                "agent_id": agent.agent_id,
                "name": agent.name,
                "model": agent.config.get("model"),
                "message_count": agent.message_count,
            }
            for agent in (found.agents.values() if found else ())
        ]

    def get_message_count(self, agent_id: str) -> int:
        """Length of an agent's history.

        Raises:
            SessionNotFoundError: There is no such agent.
        """
        return self._known_agent(agent_id).message_count

    def get_agent_config(self, agent_id: str) -> dict[str, Any]:
        """How an agent is set up: ``agent_id``, ``name``, ``model``, ``system_prompt``, ``prompt_metadata``.

        Raises:
            SessionNotFoundError: There is no such agent.
        """
        unset = dict.fromkeys(("name", "model", "system_prompt", "prompt_metadata"))
        return {"agent_id": agent_id, **unset, **self._known_agent(agent_id).config}

    def update_agent_config(
        self,
        agent_id: str,
        model: str | None = None,
        system_prompt: str | None = None,
        *,
        changed_by: str | None = None,
    ) -> None:
        """Change what is stored of an agent's set-up. A running agent writes its own again with its next turn.

        Args:
            agent_id: Whose.
            model: The model's id.
            system_prompt: Its text.
            changed_by: Who does that, for :meth:`get_prompt_lineage`.

        Raises:
            SessionNotFoundError: There is no such agent.
        """
        given = {"model": model, "system_prompt": system_prompt}
        config = {name: value for name, value in given.items() if value is not None}
        for name, value in config.items():
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a string, not {type(value).__name__}")
        if not config:
            self._known_agent(agent_id)
            return
        self._beside_turns.update_agent_config(self.session_id, agent_id, config, changed_by=changed_by)

    def set_prompt_metadata(
        self, agent_id: str, prompt_metadata: Mapping[str, Any], *, changed_by: str | None = None
    ) -> None:
        """Store where an agent's prompt comes from, such as its name, version and deployment.

        Args:
            agent_id: Whose.
            prompt_metadata: All of it; what was there before is in :meth:`get_prompt_lineage`.
            changed_by: Who does that, for the same.

        Raises:
            SessionNotFoundError: There is no such agent.
        """
        if not isinstance(prompt_metadata, Mapping):
            raise TypeError(f"prompt_metadata must be a mapping, not {type(prompt_metadata).__name__}")
        config = {"prompt_metadata": dict(prompt_metadata)}
        self._beside_turns.update_agent_config(self.session_id, agent_id, config, changed_by=changed_by)

    def get_prompt_lineage(self, agent_id: str) -> list[dict[str, Any]]:
        """How an agent came to its set-up: the last 50 changes of model, prompt and prompt metadata, oldest first.

        Returns:
            Of each ``changed_at``; ``source``, ``"turn"`` where the agent itself came with it, else ``"config"``;
            ``changed_by``; and what was changed: ``model``, ``system_prompt_sha256``, ``prompt_metadata``.

        Raises:
            SessionNotFoundError: There is no such agent.
        """
        return self._known_agent(agent_id).prompt_lineage

    def _known_agent(self, agent_id: str) -> AgentSummary:
        agent = self._beside_turns.agent_summary(self.session_id, agent_id)
        if agent is None:
            raise SessionNotFoundError(
                f"agent {agent_id!r} in session {self.session_id!r} does not exist",
                session_id=self.session_id,
                agent_id=agent_id,
            )
        return agent

    # Closing

    def close(self) -> None:
        """Write what is recorded and not yet written. The manager stays usable."""
        self.unit_of_work.flush_pending()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, off the event loop."""
        await self._background.run(self.close)


def _renamed(kwargs: dict[str, Any], older: str, name: str, value: Any) -> Any:
    if older not in kwargs:
        return value
    warnings.warn(f"{older} is deprecated, use {name}", DeprecationWarning, stacklevel=4)
    return kwargs.pop(older) if value is None else (kwargs.pop(older), value)[1]

"""Answers to be measured: the service's own agent is asked, in conversations that are kept nowhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias, TypeVar

from ..agent_maker import AgentMaker, prompt
from ..config import Settings
from ..events import RetrievalComplete, RetrievalStart
from ..model_options import ModelOptions
from ..models import text_of
from .evaluation import Answer, Answering
from .grounding import Asked, Grounding
from .passages import Mode, Retrieved, Retriever

__all__ = ["By", "answering"]

T = TypeVar("T")

By: TypeAlias = Literal["demo", "configured", "none"]
"""Who answers: the demo model, the model that the settings name, or nobody."""


def answering(settings: Settings, knowledge: Retriever, by: By, top_k: int) -> Answering | None:
    """What asks an agent.

    Args:
        settings: They choose the model, and whether documents are searched before it is asked or by itself.
        knowledge: Is searched.
        by: Who answers.
        top_k: How many passages to look for.

    Raises:
        ConfigurationError: The model needs a package that is not installed.
    """
    if by == "none":
        return None
    demo = {"model_provider": "demo", "demo_delay": 0.0} if by == "demo" else {}
    way = settings.retrieval if settings.retrieval != "off" else "step"
    chosen = settings.model_copy(update={**demo, "retrieval": way})
    agents = AgentMaker(chosen)

    async def ask(question: str, mode: Mode) -> Answer:
        grounding = Grounding(_InMode(knowledge, mode), chosen.retrieval, Asked(question, top_k=top_k))
        agent = agents.make(None, ModelOptions(), searches=grounding.way == "tool")
        grounding.attach(agent, _Unread())
        result = await agent.invoke_async(prompt(question, None), invocation_state=grounding.state)
        return Answer(text_of(result.message), tuple(grounding.evidence.passages))

    return ask


class _InMode:
    """A knowledge base that is searched in one mode."""

    def __init__(self, knowledge: Retriever, mode: Mode) -> None:
        self._knowledge = knowledge
        self._mode = mode

    async def retrieve(
        self,
        query: str,
        *,
        top_k: int = 5,
        mode: Mode | None = None,
        module: str | None = None,
        source: str | None = None,
    ) -> Retrieved:
        return await self._knowledge.retrieve(query, top_k=top_k, mode=mode or self._mode, module=module, source=source)


class _Unread:
    """A turn whose events nobody reads."""

    def tell(self, event: RetrievalStart | RetrievalComplete) -> None:
        pass

    def retrieved(self, found: Retrieved | None) -> None:
        pass

    async def unless_stopped(self, call: Callable[[], Awaitable[T]]) -> T | None:
        return await call()

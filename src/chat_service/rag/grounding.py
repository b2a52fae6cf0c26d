"""Answers that rest on documents: an agent is given what was found for its question, and no more than that is cited.

What is found goes into the model's input alone. The history keeps the question as it was asked, and the answer with the
passages that it rests on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from strands import Agent
from strands.hooks import HookOrder, MessageAddedEvent
from strands.middleware import InvokeModelContext, InvokeModelStage
from strands.types.content import SystemContentBlock, split_system_prompt

from ..events import RetrievalComplete, RetrievalStart
from ..exceptions import KnowledgeBaseUnavailable, ServiceError
from ..small_talk import is_small_talk
from .chunks import Chunk, kept_with
from .citations import checked, cited
from .evidence import EVIDENCE, Evidence
from .fence import Fence
from .passages import Passage, Retrieved, Retriever
from .reading import Reading, read

__all__ = ["GROUNDING", "Asked", "Grounding", "Turn", "Way"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

Way: TypeAlias = Literal["step", "tool", "off"]
"""Documents are searched before the model is asked, by the model itself, or not at all."""

GROUNDING = "grounding"
"""Where the SDK's state of an invocation holds it, for tools."""

_CITE = (
    "The passages have numbers. Answer from them, and behind each statement put the number of the passage that it "
    "rests on in square brackets, as in [1]. Use no other numbers in square brackets. Numbers in earlier answers "
    "belong to earlier passages. Where the passages hold no answer, say that these documents do not hold it."
)
_SEARCH = (
    "Before you answer a question that documents may answer, look it up with search_documents, and rest the answer on "
    "what it finds: put the number of the passage behind each statement in square brackets, as in [1]. Where it finds "
    "no answer, say that these documents do not hold it. A greeting, talk about this conversation, the time and "
    "arithmetic need no search."
)
_NOTHING = (
    "The documents were searched, and no passage in them answers this. If the question is one that documents should "
    "answer, say that these documents do not hold the answer, and do not answer it from memory. A greeting, talk about "
    "this conversation, the time and arithmetic are answered as ever. Use no numbers in square brackets."
)
_NOTHING_BUT_SELECTION = (
    "The documents hold no passage about this. Answer from the selected text alone, and say so where it does not hold "
    "the answer. Use no numbers in square brackets."
)
_SELECTION = "The user asks about the selected text: it goes before every passage."

_LONGEST_QUERY = 1000  # characters
_OF_SELECTION = 500  # characters of the selected text that help to find passages
_PATIENCE = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """A question.

    Attributes:
        query: What is asked.
        selected_text: What the user has marked on a page, if anything: the answer is about it before all else.
        top_k: How many passages to look for.
    """

    query: str
    selected_text: str | None = None
    top_k: int = 5

    @property
    def is_about_documents(self) -> bool:
        """Whether documents may hold an answer: not to a greeting, for example."""
        return self.selected_text is not None or not is_small_talk(self.query)


class Turn(Protocol):
    """What a turn does for its grounding."""

    def tell(self, event: RetrievalStart | RetrievalComplete) -> None:
        """Tell its readers."""

    def retrieved(self, found: Retrieved | None) -> None:
        """Count a search; ``None`` when it failed."""

    async def unless_stopped(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Wait for a call, but no longer than the turn is wanted. ``None`` when it is not."""


class Grounding:
    """What one answer rests on, and how it comes to that.

    Attributes:
        evidence: What was found until now.
        way: Who searches, and when: ``off`` where nobody can.
    """

    def __init__(self, retriever: Retriever | None, way: Way, asked: Asked) -> None:
        """Prepare; nothing is searched yet.

        Args:
            retriever: Searches. Without one, nothing is searched.
            way: Who searches, and when.
            asked: The question.
        """
        self.evidence = Evidence()
        self._retriever = retriever
        self.way: Way = way if retriever else "off"
        self._asked = asked
        self._fence = Fence()
        self._turn: Turn | None = None
        self._failure: Exception | None = None

    @property
    def state(self) -> dict[str, Any]:
        """For the SDK's state of the invocation, where tools and the demo model find this."""
        return {EVIDENCE: self.evidence, GROUNDING: self} if self.way != "off" else {}

    def metadata(self, text: str) -> dict[str, Any]:
        """What the last event of the turn tells of it.

        Args:
            text: The answer.
        """
        if self.way == "off":
            return {}
        chunks = self.evidence.chunks
        return {"citations": cited(text, len(chunks)), "chunks": chunks, "timings": dict(self.evidence.timings)}

    def attach(self, agent: Agent, turn: Turn) -> None:
        """Let an agent answer so.

        Args:
            agent: Answers this question and no other.
            turn: Told what happens.
        """
        self._turn = turn
        agent.add_middleware(InvokeModelStage.Input, self._prepared)
        if self.way != "off":
            # Before the session's own callback, which stores the message.
            agent.hooks.add_callback(MessageAddedEvent, self._keep, order=HookOrder.SDK_FIRST)

    def detach(self) -> None:
        """Let go of the turn: it is over."""
        self._turn = None

    async def search(
        self, query: str, *, module: str | None = None, source: str | None = None
    ) -> list[tuple[int, Passage]]:
        """Find passages, and tell so.

        Args:
            query: What to look for.
            module: Only in this module.
            source: Only in this file.

        Returns:
            The passages with their numbers; none when the documents hold no answer, or the turn is stopped.

        Raises:
            KnowledgeBaseUnavailable: The documents cannot be searched now.
        """
        assert self._turn
        query = query[:_LONGEST_QUERY]
        self._turn.tell({"event": "retrieval_start", "query": query})
        found = await self._found(query, module, source)
        if found is None:
            return []
        numbers = self.evidence.add(found)
        self._turn.retrieved(found)
        chunks = {chunk["number"]: chunk for chunk in self.evidence.chunks}
        self._turn.tell(_complete([chunks[number] for number in numbers], found.timings))
        return [(number, self.evidence.passages[number - 1]) for number in numbers]

    async def _found(self, query: str, module: str | None, source: str | None) -> Retrieved | None:
        assert self._turn
        retriever = self._retriever
        assert retriever
        top_k = self._asked.top_k
        found: Retrieved | None = None
        try:
            async with asyncio.timeout(_PATIENCE):
                for text in self._texts_to_find(query):
                    again = await self._turn.unless_stopped(
                        lambda text=text: retriever.retrieve(text, top_k=top_k, module=module, source=source)  # type: ignore[misc]
                    )
                    found = again and _after(found, again)
                    if found is None or found.is_supported:
                        break
                return found
        except Exception as error:
            self._turn.retrieved(None)
            self._failure = _explained(error)
            raise self._failure from error.__cause__ if self._failure is error else error

    def _texts_to_find(self, query: str) -> Iterator[str]:
        """The question with what was selected; where that finds nothing, the question alone."""
        if selected := (self._asked.selected_text or "")[:_OF_SELECTION]:
            yield f"{query}\n{selected}".strip()
        yield query

    async def _prepared(self, call: InvokeModelContext) -> InvokeModelContext:
        """What the model is given instead of the bare history."""
        if self._failure:  # a tool that fails by itself ends no turn
            raise self._failure
        if self.way == "step" and not self.evidence.is_searched and self._asked.is_about_documents:
            await self.search(self._asked.query)
        reading = read(call.messages, self.evidence.passages if self.way == "step" else [], self._fence)
        if rules := list(self._rules(reading)):
            _, prompt = split_system_prompt(call.system_prompt)
            told = [SystemContentBlock(text=rule) for rule in rules]
            call = call.replace(messages=reading.messages, system_prompt=[*(prompt or []), *told])
        if self.way == "off":
            return call
        return call.replace(model=checked(call.model, lambda: len(self.evidence.passages), self._spend_on_model))

    def _rules(self, reading: Reading) -> Iterator[str]:
        if reading.has_material:
            yield self._fence.rule
        if reading.has_selection:
            yield _SELECTION
        if self.evidence.passages:
            yield _CITE
        elif self.way == "tool" and not self.evidence.is_searched:
            yield _SEARCH
        elif self.evidence.is_searched:
            yield _NOTHING_BUT_SELECTION if reading.has_selection else _NOTHING

    def _spend_on_model(self, milliseconds: float) -> None:
        self.evidence.spend("model", milliseconds)

    def _keep(self, event: MessageAddedEvent) -> None:
        """Store with the answer what it rests on."""
        message = event.message
        is_answer = message["role"] == "assistant" and not any("toolUse" in block for block in message["content"])
        if is_answer and (chunks := self.evidence.chunks):
            kept_with(message, chunks)


def _after(first: Retrieved | None, second: Retrieved) -> Retrieved:
    """A search after one that found nothing, with the time of both."""
    if first is None:
        return second
    stages = dict.fromkeys([*first.timings, *second.timings])
    return replace(second, timings={each: first.timings.get(each, 0) + second.timings.get(each, 0) for each in stages})


def _explained(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    logger.error(
        "error=<%s>, seconds=<%.0f> | the documents cannot be searched: see that QDRANT_URL can be reached, or set"
        " RETRIEVAL to off",
        type(error).__name__,
        _PATIENCE,
    )
    return KnowledgeBaseUnavailable()


def _complete(chunks: list[Chunk], timings: Mapping[str, float]) -> RetrievalComplete:
    return {
        "event": "retrieval_complete",
        "chunks": chunks,
        "timings": {stage: round(milliseconds, 1) for stage, milliseconds in timings.items()},
    }

"""The demo model: no language model, but a Strands ``Model`` that needs no account, key or download.

It quotes what was found in the documents, remembers what the user said earlier in the conversation it is given, and
calls tools when told to. So everything around it (retrieval, streaming, tools, sessions that outlive a restart) can be
seen at work.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from strands.models import Model
from strands.types.content import Message, Messages
from strands.types.streaming import StreamEvent
from strands.types.tools import ToolSpec

from .quoting import best_of
from .rag.evidence import EVIDENCE, Evidence
from .small_talk import is_small_talk, straight, sum_asked, time_asked

__all__ = ["DemoModel"]

_ABOUT = (
    "I am the demo model, and no language model: I quote the documents, remember what you tell me in this session, "
    "can use a clock and a calculator, and count."
)
_SEARCH = "search_documents"
_SELECTED = re.compile(r'<[^>]* kind="selected by the user">\n(.*)\n</[^>]*>', re.DOTALL)
_MOST_QUOTES = 3
_NEARLY = 0.8  # of the best score, below which a passage is not quoted
_HIGHEST = 1000
_GREETING = re.compile(r"(hello|hi|hey|greetings|good (morning|afternoon|evening|day))\b", re.I)
_IDENTITY = re.compile(r"\b(who|what) are you\b|\bare you\b(?<!how are you)|\bwhat can you do\b|\byour name\b", re.I)
_COUNT = re.compile(r"\bcount (?:from (?:1|one) )?(?:up )?to (\d{1,9})\b", re.I)
_JOINED = re.compile(r"(?:,? (?:and|but)|,) (?=(?:my|i|call me)\b)", re.I)
_FACT = re.compile(r"\bmy ([a-z][\w' ]{0,40}?) (is|are)( called| named)?+ ([^.!?\n]{1,80})", re.I)
_CALLED = re.compile(r"\b(?:i am called|call me) ([^.!?,\n]{1,80})", re.I)
_LIKED = re.compile(r"\bi (love|like|enjoy|hate) ([^.!?\n]{1,80})", re.I)
_FACT_ASKED = re.compile(
    r"\b(?:what|who|where|which|when)(?:'s| is| are)? my ([a-z][\w' ]{0,40}?)(?: is| are)?( called| named)?"
    r"\s*(?:[?.!]|$)",
    re.I,
)
_LIKED_ASKED = re.compile(r"\bwhat do i (love|like|enjoy|hate)\b", re.I)
_MEMORY_ASKED = re.compile(r"\bwhat (?:do|can) you (?:remember|know about me)\b|\bdo you remember me\b", re.I)
_SAID_ASKED = re.compile(r"\bwhat (?:did|have) i (?:say|said|ask|asked|tell you|told you)\b(.*)", re.I)


@dataclass(frozen=True, slots=True)
class _Call:
    """A wish to call a tool."""

    name: str
    input: dict[str, Any]


class DemoModel(Model):
    """Answers from what was found for it, from the conversation, and from tools."""

    def __init__(self, delay: float = 0.03) -> None:
        """Keep what is needed to answer.

        Args:
            delay: Seconds between two words.
        """
        self._delay = delay

    def update_config(self, **model_config: Any) -> None:
        """There is nothing to configure."""

    def get_config(self) -> dict[str, Any]:
        """The name under which metrics know the model, and a window for the SDK's estimates."""
        return {"model_id": "demo", "context_window_limit": 100_000}

    def structured_output(self, *args: Any, **kwargs: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Not offered: the demo model writes sentences."""
        raise NotImplementedError("the demo model gives no structured output; set MODEL_PROVIDER to use a real model")

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        **_: Any,
    ) -> AsyncIterable[StreamEvent]:
        """Answer the last message, word by word. What was found for it is in the state of the invocation."""
        evidence: Evidence | None = (invocation_state or {}).get(EVIDENCE)
        answer = _answer(messages, {spec["name"] for spec in tool_specs or []}, evidence)
        yield {"messageStart": {"role": "assistant"}}
        if isinstance(answer, _Call):
            async for event in self._streamed(f"I will use the tool {answer.name}."):
                yield event
            for event in _tool_use(answer):
                yield event
        else:
            async for event in self._streamed(answer):
                yield event
        yield {"messageStop": {"stopReason": "tool_use" if isinstance(answer, _Call) else "end_turn"}}
        yield _usage(messages, answer)

    async def _streamed(self, text: str) -> AsyncGenerator[StreamEvent, None]:
        yield {"contentBlockStart": {"start": {}}}
        for piece in re.findall(r"\s*\S+\s*$|\s*\S+", text):
            await asyncio.sleep(self._delay)
            yield {"contentBlockDelta": {"delta": {"text": piece}}}
        yield {"contentBlockStop": {}}


def _answer(messages: Messages, tools: set[str], evidence: Evidence | None) -> str | _Call:
    said = [text for message in messages if message["role"] == "user" and (text := _question(message))]
    question = said[-1] if said else ""
    if results := _tool_results(messages):
        return "The tool answered: " + "; ".join(results) + "."
    if _has_searched(messages):
        return _quoted(question, _selection(messages), evidence, first=len(said) <= 1)
    return (
        _counted(question)
        or _tool_wanted(question, tools)
        or _recalled(question, said[:-1])
        or _noted(question)
        or _introduced(question)
        or _looked_up(question, tools)
        or _quoted(question, _selection(messages), evidence, first=len(said) <= 1)
    )


def _counted(question: str) -> str | None:
    found = _COUNT.search(question)
    return ", ".join(map(str, range(1, min(int(found[1]), _HIGHEST) + 1))) + "." if found else None


def _looked_up(question: str, tools: set[str]) -> _Call | None:
    return _Call(_SEARCH, {"query": question}) if _SEARCH in tools else None


def _quoted(question: str, selected: str | None, evidence: Evidence | None, first: bool) -> str:
    parts = [_ABOUT] if first else []
    if selected:
        parts.append(f"You selected: “{best_of(selected, question)}”")
    if evidence is None:
        parts.append("I was given no documents to quote. Ask me what time it is, or tell me your name.")
    elif quotes := _quotes(question, evidence):
        parts += ["The documents say:", *quotes]
    else:
        parts.append("That is not in these documents: I found no passage that answers it.")
    return "\n\n".join(parts)


def _quotes(question: str, evidence: Evidence) -> list[str]:
    """The best passages in short, each with the number that cites it."""
    least = _NEARLY * max((passage.similarity_score for passage in evidence.passages), default=0)
    best = [(n, passage) for n, passage in enumerate(evidence.passages, 1) if passage.similarity_score >= least]
    quotes = [f"“{quote}” [{number}]" for number, passage in best if (quote := best_of(passage.text, question))]
    without_prose = [f"See “{passage.section_heading}” [{number}]." for number, passage in best]
    return (quotes or without_prose)[:_MOST_QUOTES]


def _question(message: Message) -> str:
    """What the user typed: the last block of text, since text that was selected on a page comes before it."""
    texts = [block["text"] for block in message["content"] if "text" in block]
    return texts[-1].strip() if texts else ""


def _selection(messages: Messages) -> str | None:
    """What the user has selected: the block before the question, without its marks."""
    question = next(message for message in reversed(messages) if message["role"] == "user" and _question(message))
    texts = [block["text"] for block in question["content"] if "text" in block][:-1]
    found = _SELECTED.fullmatch(texts[-1]) if texts else None
    return found[1] if found else None


def _tool_results(messages: Messages) -> list[str]:
    """What tools have answered, but for the search."""
    results = [block["toolResult"] for block in messages[-1]["content"] if "toolResult" in block]
    searches = _searches(messages)
    others = [result for result in results if result["toolUseId"] not in searches]
    return [item["text"] for result in others for item in result["content"] if "text" in item]


def _has_searched(messages: Messages) -> bool:
    return any("toolResult" in block for block in messages[-1]["content"])


def _searches(messages: Messages) -> set[str]:
    uses = [block["toolUse"] for message in messages[-2:] for block in message["content"] if "toolUse" in block]
    return {use["toolUseId"] for use in uses if use["name"] == _SEARCH}


def _tool_wanted(question: str, tools: set[str]) -> _Call | None:
    if "calculate" in tools and (expression := sum_asked(question)):
        return _Call("calculate", {"expression": expression})
    if "current_time" in tools and time_asked(question):
        return _Call("current_time", {})
    return None


def _recalled(question: str, earlier: Sequence[str]) -> str | None:
    """An answer about the conversation itself, from the messages of the user before this one."""
    if asked := _SAID_ASKED.search(question):
        return _said(asked[1], earlier)
    question = straight(question)
    facts = {matter: told for text in earlier for matter, told in _facts(text)}
    if _MEMORY_ASKED.search(question):
        known = "; ".join(facts.values())
        return f"In this session you told me: {known}." if known else "You have told me nothing about yourself yet."
    if asked := _FACT_ASKED.search(question):
        matter = _matter(asked[1], called=bool(asked[2]))
        if matter in facts:
            return _sentence(facts[matter])
        return f"You have not told me your {matter} yet." if is_small_talk(question) else None
    if asked := _LIKED_ASKED.search(question):
        liked = f"you {asked[1].lower()}"
        known = "; ".join(told for told in facts.values() if told.startswith(f"{liked} "))
        return _sentence(known) if known else f"You have not told me what {liked} yet."
    if re.search(r"\bwho am i\b", question, re.I):
        name = facts.get("name", "").removeprefix("your name is ")
        return f"You are {name}." if name else "You have not told me your name yet."
    return None


def _said(which: str, earlier: Sequence[str]) -> str:
    if not earlier:
        return "This is the first thing that you have said in this session."
    if "first" in which.lower() or "begin" in which.lower():
        return f"The first thing that you said was: “{earlier[0]}”"
    return f"The last thing that you said before this was: “{earlier[-1]}”"


def _noted(question: str) -> str | None:
    facts = list(_facts(question))
    if not facts or question.endswith("?"):
        return None
    return " ".join(f"I will remember for this session: {told}." for _, told in facts)


def _facts(text: str) -> Iterator[tuple[str, str]]:
    """What a message tells, as (matter, what of it): its sentences, less those that ask."""
    parts = _JOINED.sub(". ", straight(text))
    told = " ".join(sentence for sentence in re.findall(r"[^.!?]+[.!?]*", parts) if not sentence.endswith("?"))
    for thing, verb, called, value in _FACT.findall(told):
        said = f"{thing} {verb}{called}".lower()
        yield _matter(thing, called=bool(called)), f"your {said} {value.strip()}"
    for value in _CALLED.findall(told):
        yield "name", f"your name is {value.strip()}"
    for verb, value in _LIKED.findall(told):
        yours = re.sub(r"\bmy\b", "your", value.strip())
        liked = f"you {verb.lower()} {yours}"
        yield liked, liked  # so that the next does not take its place


def _matter(thing: str, *, called: bool) -> str:
    """What a fact is about: what a dog is called is the dog's name."""
    name = thing.lower()
    if not called:
        return name
    return f"{name}' name" if name.endswith("s") else f"{name}'s name"


def _sentence(told: str) -> str:
    return f"{told[0].upper()}{told[1:]}."


def _introduced(question: str) -> str | None:
    if not is_small_talk(question):
        return None
    if _IDENTITY.search(question):
        return _ABOUT
    if _GREETING.match(question):
        return f"Hello! {_ABOUT} Ask me what a session is, or tell me your name."
    return "All right. Ask me what a session is, or tell me your name."


def _tool_use(call: _Call) -> Iterator[StreamEvent]:
    yield {"contentBlockStart": {"start": {"toolUse": {"name": call.name, "toolUseId": f"call_{uuid.uuid4().hex}"}}}}
    yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(call.input)}}}}
    yield {"contentBlockStop": {}}


def _usage(messages: Messages, answer: str | _Call) -> StreamEvent:
    """Words stand in for tokens."""
    read = sum(len(block.get("text", "").split()) for message in messages for block in message["content"])
    written = len(str(answer).split())
    usage = {"inputTokens": read, "outputTokens": written, "totalTokens": read + written}
    return {"metadata": {"usage": usage, "metrics": {"latencyMs": 0}}}  # type: ignore[typeddict-item]

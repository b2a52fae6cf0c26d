"""Citations in an answer: ``[2]`` names the second passage that was found for it. What names none is taken out."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, cast

from strands.models import Model
from strands.types.streaming import StreamEvent

__all__ = ["Citations", "checked", "cited"]

_TOKEN = re.compile(r"(`+)|(\n[^\S\n]*\n)|(?: ?(\[\d{1,3}(?:, ?\d{1,3})*\]))")
# What may become one of these with the next word: it is held back until then.
_BEGUN = re.compile(r"(?:`+|\n\s*| ?\[[\d, ]{0,40}| )\Z")
_HALF = re.compile(r"\[[\d, ]{0,40}\Z")
_TAIL = 50  # characters


class Citations:
    """Reads an answer piece by piece, and passes it on without the citations that name nothing.

    In code, between backticks, brackets are no citations and stay.

    Attributes:
        numbers: Those that were cited, each once, in order of their first appearance.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        """Begin.

        Args:
            count: How many passages there are by now.
        """
        self.numbers: list[int] = []
        self._count = count
        self._held = ""
        self._passed = ""  # the end of what was passed on
        self._code = ""  # the backticks that opened it

    def read(self, text: str) -> str:
        """Take the next piece. Returns what can be passed on by now."""
        text = self._held + text
        begun = _BEGUN.search(text)
        end = begun.start() if begun else len(text)
        self._held = text[end:]
        return self._pass(text[:end])

    def rest(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return self._pass(held)

    def _pass(self, text: str) -> str:
        said, position = self._passed, 0
        for found in _TOKEN.finditer(text):
            said += text[position : found.start()]
            said += self._checked(found, said)
            position = found.end()
        said += text[position:]
        new = said[len(self._passed) :]
        self._passed = said[-_TAIL:]
        return new

    def _checked(self, found: re.Match[str], before: str) -> str:
        ticks, gap, citation = found.groups()
        if ticks:
            self._turn(ticks)
        elif gap and len(self._code) < 3:
            self._code = ""  # no span of code goes beyond its paragraph
        elif citation and not self._code:
            return self._resolved(found[0], citation, before)
        return found[0]

    def _turn(self, ticks: str) -> None:
        if not self._code:
            self._code = ticks
        elif ticks == self._code or 3 <= len(self._code) <= len(ticks):
            self._code = ""

    def _resolved(self, whole: str, citation: str, before: str) -> str:
        numbers = dict.fromkeys(int(number) for number in re.findall(r"\d+", citation))
        known = [number for number in numbers if 1 <= number <= self._count()]
        self.numbers += [number for number in known if number not in self.numbers]
        if not known:  # what stands around it must not become a citation when it goes
            return "…" if _HALF.search(before) else ""
        return whole.removesuffix(citation) + "".join(f"[{number}]" for number in known)


def cited(text: str, count: int) -> list[int]:
    """The numbers that a whole answer cites."""
    citations = Citations(lambda: count)
    citations.read(text)
    citations.rest()
    return citations.numbers


def checked(model: Model, count: Callable[[], int], spend: Callable[[float], None]) -> Model:
    """A model whose answers cite nothing that is not there.

    Args:
        model: Answers.
        count: How many passages there are by now.
        spend: Told the milliseconds of each call.
    """
    return cast(Model, _Checked(model, count, spend))


class _Checked:
    def __init__(self, model: Model, count: Callable[[], int], spend: Callable[[float], None]) -> None:
        self._model = model
        self._count = count
        self._spend = spend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[StreamEvent, None]:
        began = time.perf_counter()
        stream = cast("AsyncGenerator[StreamEvent, None]", self._model.stream(*args, **kwargs))
        try:
            async with aclosing(stream) as chunks, aclosing(self._passed(chunks)) as passed:
                async for chunk in passed:
                    yield chunk
        finally:
            self._spend((time.perf_counter() - began) * 1000)

    async def _passed(self, chunks: AsyncGenerator[StreamEvent, None]) -> AsyncGenerator[StreamEvent, None]:
        citations = Citations(self._count)
        async for chunk in chunks:
            if text := _text_in(chunk):
                if said := citations.read(text):
                    yield _saying(said)
                continue
            if ("contentBlockStop" in chunk or "messageStop" in chunk) and (said := citations.rest()):
                yield _saying(said)
            yield chunk


def _text_in(chunk: StreamEvent) -> str | None:
    return chunk["contentBlockDelta"]["delta"].get("text") if "contentBlockDelta" in chunk else None


def _saying(text: str) -> StreamEvent:
    return {"contentBlockDelta": {"delta": {"text": text}}}

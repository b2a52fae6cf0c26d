"""What asks nothing of documents: greetings, thanks, the time, sums, and what somebody tells of himself.

Only what is nothing else counts: whatever is in doubt may be a question about documents. English is known here; in
other languages documents are searched for a greeting too, which finds nothing.
"""

from __future__ import annotations

import re

__all__ = ["is_small_talk", "straight", "sum_asked", "time_asked"]

_LONGEST = 300  # characters

_PLEASE = r"(?:(?:and|but|so|please|now|can you|could you|tell me|do you know) )*"
_GREETING = r"(?:hello|hi|hey|greetings|good (?:morning|afternoon|evening|day|night))(?: (?:there|again|all|everyone))?"
_COURTESY = (
    r"(?:many )?(?:thanks|thank you|thx|cheers)(?: a lot| so much| very much| again)?|ok|okay|yes|no|please|sorry|great"
    r"|good|nice|cool|perfect|well done|bye|goodbye|see you(?: later| soon)?|how are you(?: doing)?(?: today)?"
)
_IDENTITY = (
    r"(?:who|what) are you|are you (?:an? )?(?:llm|(?:large )?language model|ai|bot|robot|chatbot|human|machine|real)"
    r"|what can you do(?: for me)?|what(?:'s| is) your name"
)
_TIME = (
    r"(?:what time (?:is it|it is)|what day is it|use the clock(?: tool)?|what(?:'s| is) the (?:current )?(?:time|date)"
    r"|what(?:'s| is) today's date|the time|the date)(?: right now| now| today)?(?: please)?"
)
_SUM = (
    r"(?:use the calculator(?: tool)?(?::| to| and)? )?(?:what(?:'s| is) |calculate |compute |work out |how much is )?"
    r"([-+(]*\d[\d\s.+\-*/%()]*[-+*/%][\d\s.+\-*/%()]*\d\)*)(?: ?=)?"
)
_COUNT = r"count (?:from (?:1|one) )?(?:up )?to \d{1,9}"
_OWN = (
    r"(?:[\w-]+(?:'s|s') )?(?:name|nickname|age|birthday|job|hobby|favou?rite [\w ]{1,30})"
    r"|(?:cat|dog|pet|wife|husband|partner|son|daughter|child|mother|father|brother|sister|friend)s?|children"
)
_TOLD = rf"my (?:{_OWN}) (?:is|are)(?: called| named)? .{{1,80}}|(?:i am called|call me) .{{1,80}}"
_LIKED = r"i (?:love|like|enjoy|hate) (?!to )(?:my )?[\w ]{1,40}"
_ASKED = (
    rf"(?:what|who)(?:'s| is| are) my (?:{_OWN})(?: called| named)?|what my (?:{_OWN}) (?:is|are)(?: called| named)?"
    r"|who am i|what do i (?:love|like|enjoy|hate)|what (?:do|can) you (?:remember|know)(?: about me)?"
    r"|do you remember me|what (?:did|have) i (?:just )?(?:say|said|ask|asked|tell|told)(?: you)?"
    r"(?: first| last| before| at the beginning)?"
)
_PARTS = re.compile(r"[.!?;\n]+(?:\s+|$)|,? (?:and|but) (?=(?:i|my|what|call|how) )|, ", re.I)
_TALK = re.compile(
    rf"(?:{_PLEASE}(?:{'|'.join([_GREETING, _COURTESY, _IDENTITY, _TIME, _SUM, _COUNT, _TOLD, _LIKED, _ASKED])}))", re.I
)
_TIME_ASKED = re.compile(f"{_PLEASE}(?:{_TIME})", re.I)
_SUM_ASKED = re.compile(f"{_PLEASE}{_SUM}", re.I)


def is_small_talk(text: str) -> bool:
    """Whether a text, each part of it, asks nothing of documents."""
    parts = _parts(text)
    return bool(parts) and all(map(_TALK.fullmatch, parts))


def time_asked(text: str) -> bool:
    """Whether somebody wants to know what time it is."""
    return any(map(_TIME_ASKED.fullmatch, _parts(text)))


def sum_asked(text: str) -> str | None:
    """What is to be calculated, if anything."""
    found = (_SUM_ASKED.fullmatch(part) for part in _parts(text))
    return next((match[1].strip() for match in found if match), None)


def straight(text: str) -> str:
    """A text with the apostrophes that keyboards have."""
    return text.replace("’", "'")


def _parts(text: str) -> list[str]:
    """Its sentences, and the parts of them that tell another thing. Of a long text none: nobody talks so."""
    if len(text) > _LONGEST:
        return []
    return [part for part in map(str.strip, _PARTS.split(straight(text))) if part]

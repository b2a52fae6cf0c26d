"""How turns are kept: what an application chooses when it makes a session manager."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["TURN_OPTIONS", "TurnOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOptions:
    """How turns are kept.

    Attributes:
        durability: ``"message"``: every message is stored as it comes. ``"turn"``: all of a turn is stored at its end.
        on_busy: ``"raise"``: another running turn refuses this one. ``"wait"``: this one waits for its end.
        busy_timeout: Seconds to wait at most.
        on_outage: ``"raise"``: a turn that cannot be stored fails. ``"hold"``: it goes on; what was recorded is kept
            and sent again.
        outage_timeout: Seconds for which it is sent again in the background.
        binary_content: ``"keep"``, or ``"drop"``: a note takes the place of large pictures, documents, videos, sounds.
        redacted_originals: ``"remove"``: what a redacted message said is gone. ``"keep"``: it is kept for an audit.
        turn_timeout: Seconds after which a turn that is not renewed has expired.
        turn_limit: Seconds without an event of the agent after which its turn is not renewed any more.

    Raises:
        ValueError: A value is none of these.
    """

    durability: Literal["message", "turn"] = "message"
    on_busy: Literal["raise", "wait"] = "raise"
    busy_timeout: float = 30.0
    on_outage: Literal["raise", "hold"] = "raise"
    outage_timeout: float = 300.0
    binary_content: Literal["keep", "drop"] = "keep"
    redacted_originals: Literal["remove", "keep"] = "remove"
    turn_timeout: float = 30.0
    turn_limit: float = 900.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, float):
                if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                    raise ValueError(f"{each.name} must be seconds above 0, not {value!r}")
            elif value not in _CHOICES[each.name]:
                raise ValueError(f"{each.name} must be {' or '.join(map(repr, _CHOICES[each.name]))}, not {value!r}")


_CHOICES = {
    "durability": ("message", "turn"),
    "on_busy": ("raise", "wait"),
    "on_outage": ("raise", "hold"),
    "binary_content": ("keep", "drop"),
    "redacted_originals": ("remove", "keep"),
}


TURN_OPTIONS = frozenset(each.name for each in fields(TurnOptions))
"""The names of how turns are kept."""

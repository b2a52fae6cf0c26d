"""What may differ from answer to answer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ModelOptions"]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How one answer is to be made.

    Attributes:
        temperature: 0 to 1.
        max_tokens: The longest answer; ``None``: as the settings say.
        model: Its name at the provider; ``None``: as the settings say.
    """

    temperature: float = 0.5
    max_tokens: int | None = None
    model: str | None = None

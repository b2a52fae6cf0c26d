"""The list of all checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from .checks import conflict, convenience, crash, faithfulness, order, redaction, restore, size
from .subject import Subject

__all__ = ["CAPABILITIES", "CONTRACT", "Check"]


@dataclass(frozen=True)
class Check:
    """One promise of a session manager. Called with a subject, it returns if the subject keeps it.

    Attributes:
        capability: What it belongs to, one of :data:`CAPABILITIES`.
        function: Raises ``AssertionError``, or whatever the session manager raises, when the promise is not kept, and
            :class:`NotOffered` when the subject cannot be asked.
    """

    capability: str
    function: Callable[[Subject], None]

    @property
    def name(self) -> str:
        """The function's name, ``"check_state"``."""
        return self.function.__name__

    @property
    def promise(self) -> str:
        """What it asks for, in a sentence."""
        words = (inspect.getdoc(self.function) or self.name).replace("``", "`").split()
        return " ".join(words).removesuffix(".")

    def __call__(self, subject: Subject) -> None:
        """Ask the subject."""
        self.function(subject)

    def __str__(self) -> str:
        return f"{self.capability}: {self.name.removeprefix('check_').replace('_', ' ')}"


_BY_CAPABILITY: dict[str, ModuleType] = {
    "restore": restore,
    "order": order,
    "conflict": conflict,
    "redaction": redaction,
    "faithfulness": faithfulness,
    "size": size,
    "crash": crash,
    "convenience": convenience,
}

CAPABILITIES = tuple(_BY_CAPABILITY)
"""What the checks are grouped by."""

CONTRACT = tuple(
    Check(capability, member)
    for capability, module in _BY_CAPABILITY.items()
    for name, member in vars(module).items()
    if name in module.__all__
)
"""Every check, in the order in which they are written down; each is independent of the others."""

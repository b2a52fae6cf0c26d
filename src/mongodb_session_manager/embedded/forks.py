"""What a forked child of the owner must let go of.

A child made by ``os.fork`` (``multiprocessing`` with its fork method) gets a copy of every descriptor. Were it to
keep the lock and the lifeline open, the server and the lock would outlive their owner by as long as the child lives.
"""

import os
from typing import Protocol

__all__ = ["register", "unregister"]


class _Ownership(Protocol):
    def disown(self) -> None:
        """Close what only the owner may hold, without ending anything."""


# Strong references on purpose: a started server that nobody holds a reference to runs until its process ends.
_ownerships: set[_Ownership] = set()


def register(ownership: _Ownership) -> None:
    """Have ``ownership`` disowned in every child forked from now on."""
    _ownerships.add(ownership)


def unregister(ownership: _Ownership) -> None:
    """Forget it; unknown ones are fine."""
    _ownerships.discard(ownership)


def _disown_all() -> None:
    for ownership in tuple(_ownerships):
        ownership.disown()
    _ownerships.clear()


os.register_at_fork(after_in_child=_disown_all)

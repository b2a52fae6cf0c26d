"""A process whose clock is wrong."""

from __future__ import annotations

import datetime as datetime_module
import sys
import time
from datetime import datetime, timedelta, tzinfo
from typing import Any

__all__ = ["shift_clock"]


def shift_clock(seconds: float) -> None:
    """From now on, whatever in this process asks for the time of day is told another one.

    The monotonic clock and the other processes are as before.
    """
    shift = timedelta(seconds=seconds)
    right = time.time

    class Dates(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, datetime)

    class Shifted(datetime, metaclass=Dates):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + shift

        @classmethod
        def utcnow(cls) -> datetime:  # type: ignore[override]
            return datetime.now(datetime_module.UTC).replace(tzinfo=None) + shift

    for module in list(sys.modules.values()):
        if module is not sys.modules[__name__] and vars(module).get("datetime") is datetime:
            vars(module)["datetime"] = Shifted
    time.time = lambda: right() + seconds

"""What was rendered, kept for the next reader of the same text."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from .answers import answer_html

__all__ = ["Rendered"]

_SMALL = 2_000  # characters that are rendered at once; more of them in a thread


class Rendered:
    """HTML of whole answers by their text. Thread-safe."""

    def __init__(self, most: int = 16_000_000) -> None:
        """Begin empty.

        Args:
            most: Characters of HTML to keep.
        """
        self._most = most
        self._size = 0
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    async def html(self, texts: Sequence[str]) -> list[str]:
        """The HTML of some answers, without holding up the event loop."""
        if sum(map(len, texts)) <= _SMALL:
            return [self._html(text) for text in texts]
        return await asyncio.to_thread(lambda: [self._html(text) for text in texts])

    def _html(self, text: str) -> str:
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
        html = answer_html(text)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = html
                self._size += len(html)
            while self._size > self._most:
                self._size -= len(self._kept.popitem(last=False)[1])
        return html

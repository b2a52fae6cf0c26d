"""Turns as responses that tell them while they run."""

from __future__ import annotations

from urllib.parse import quote

from fastapi.responses import StreamingResponse

from .events import Log, frames
from .rendering.cache import Rendered
from .rendering.frames import frames_with_blocks

__all__ = ["TurnNarrator"]


class TurnNarrator:
    """Makes responses of server-sent events."""

    def __init__(self, heartbeat: float, rendered: Rendered) -> None:
        """Prepare.

        Args:
            heartbeat: Seconds of silence after which a comment is sent.
            rendered: Where whole answers are kept as HTML.
        """
        self._heartbeat = heartbeat
        self._rendered = rendered

    def tell(self, log: Log, render: str | None, position: int = 0) -> StreamingResponse:
        """Tell a turn.

        Args:
            log: The turn's log.
            render: Whether the answer comes as HTML too.
            position: What the client has seen already.
        """
        # Neither a cache nor a proxy may hold back what is meant to be read at once.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        if log.session_id:
            headers["session-id"] = quote(log.session_id, safe="")
        told = (
            frames_with_blocks(log, self._heartbeat, self._rendered, position)
            if render
            else frames(log, self._heartbeat, position)
        )
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

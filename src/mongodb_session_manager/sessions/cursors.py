"""Where a page of sessions ends and the next one begins. No I/O."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..documents import aware, valid_session_id
from ..store import Order

__all__ = ["behind", "cursor_after"]


def cursor_after(last: Mapping[str, Any], order: Order) -> str:
    """The cursor behind the last session of a page.

    Args:
        last: As the database returned it.
        order: That of the page.
    """
    moment = last.get(order)
    if isinstance(moment, datetime):
        moment = moment.isoformat()
    elif moment is not None:
        moment = [str(moment)]
    return base64.urlsafe_b64encode(json.dumps([order, moment, last["_id"]]).encode()).decode()


def behind(cursor: str, order: Order) -> list[dict[str, Any]]:
    """Conditions of what comes behind a cursor, one after the other: those of the same moment, then those before.

    Each is one stretch of an index. In one condition the server would choose between plans, some of which read more
    than they return. Behind dates come those that an older tool wrote as text, and then none at all.

    Raises:
        ValueError: It is not the cursor of such a page.
    """
    moment, session_id = _read(cursor, order)
    same = {order: moment, "_id": {"$lt": session_id}}
    if moment is None:
        return [same]
    text: list[dict[str, Any]] = [{order: {"$gte": ""}}] if isinstance(moment, datetime) else []
    return [same, {order: {"$lt": moment}}, *text, {order: None}]


def _read(cursor: str, order: Order) -> tuple[datetime | str | None, str]:
    try:
        of_order, moment, session_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if of_order != order:
            raise ValueError("of another order")
        if isinstance(moment, list):
            [moment] = map(valid_session_id, moment)
        elif moment is not None:
            moment = aware(datetime.fromisoformat(moment)).astimezone(UTC)
        return moment, valid_session_id(session_id)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError("the cursor is not one that a page of sessions in this order returned") from error

"""What a model reads of a conversation: everything that others have written is enclosed as material."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strands.types.content import ContentBlock, Message, Messages
from strands.types.tools import ToolResult

from .fence import Fence
from .passages import Passage

__all__ = ["Reading", "numbered", "read"]

_SELECTED = re.compile(r"<selected_text>\n(.*)\n</selected_text>", re.DOTALL)
_EARLIER = "(Passages for an earlier question. Search again where they are needed.)"


@dataclass(frozen=True, slots=True)
class Reading:
    """Messages for a model.

    Attributes:
        messages: With the passages before the question, and marks around all that is material.
        has_material: Whether there is any.
        has_selection: Whether the question comes with text that the user has selected.
    """

    messages: Messages
    has_material: bool
    has_selection: bool


def numbered(passages: Iterable[tuple[int, Passage]]) -> dict[str, Any]:
    """Passages as the result of a tool, which the history keeps."""
    return {
        "passages": [
            {"number": number, "source": found.source_file, "section": found.section_heading, "text": found.text}
            for number, found in passages
        ]
    }


def read(messages: Messages, passages: Sequence[Passage], fence: Fence) -> Reading:
    """Prepare a conversation for a model.

    Args:
        messages: The conversation up to the question, and the tools' part of the answer. Not changed.
        passages: What was found for the question, from number 1.
        fence: The marks of this answer.
    """
    place = max((index for index, message in enumerate(messages) if _is_question(message)), default=-1)
    found = numbered(enumerate(passages, 1)) if passages else None
    prepared: Messages = []
    for index, message in enumerate(messages):
        content = [_enclosed(block, message, fence, is_current=index >= place) for block in message["content"]]
        if index == place and found:
            content.insert(0, {"text": _passages(found, fence)})
        prepared.append({**message, "content": content})
    question = messages[place] if place >= 0 else None
    return Reading(
        messages=prepared,
        has_material=fence.is_used,
        has_selection=question is not None and any(_selection(block, question) for block in question["content"]),
    )


def _is_question(message: Message) -> bool:
    return message["role"] == "user" and not any("toolResult" in block for block in message["content"])


def _enclosed(block: ContentBlock, message: Message, fence: Fence, *, is_current: bool) -> ContentBlock:
    if "toolResult" in block:
        return {"toolResult": _result(block["toolResult"], fence, is_current=is_current)}
    selected = _selection(block, message)
    return {"text": fence.enclosed(selected, kind="selected by the user")} if selected is not None else block


def _selection(block: ContentBlock, message: Message) -> str | None:
    """What the user had selected. What he typed is the last block of his message, whatever it looks like."""
    if message["role"] != "user" or block is message["content"][-1]:
        return None
    found = _SELECTED.fullmatch(block.get("text", ""))
    return found[1] if found else None


def _result(result: ToolResult, fence: Fence, *, is_current: bool) -> ToolResult:
    found = next((item["json"] for item in result["content"] if "json" in item), None)
    if not isinstance(found, Mapping) or "passages" not in found:
        return result
    return {**result, "content": [{"text": _passages(found, fence) if is_current else _EARLIER}]}


def _passages(found: Mapping[str, Any], fence: Fence) -> str:
    """Every passage between marks of its own, so that none can pass for another one."""
    enclosed = [
        fence.enclosed(str(each["text"]), passage=each["number"], source=each["source"], section=each["section"])
        for each in found["passages"]
    ]
    return "\n\n".join(enclosed) or "No passage was found."

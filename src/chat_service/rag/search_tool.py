"""The tool by which a model searches the documents itself."""

from __future__ import annotations

from typing import Any, cast

from strands import ToolContext, tool

from .grounding import GROUNDING, Grounding
from .reading import numbered

__all__ = ["search_documents"]


@tool(context=True)
async def search_documents(
    query: str,
    tool_context: ToolContext[Any],
    module: str | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """Search the documents. The passages come with the numbers that cite them.

    Args:
        tool_context: Not the model's.
        query: What to look for, in a sentence or a few words.
        module: Only look in this part of the documents.
        source: Only look in this file.
    """
    grounding = cast(Grounding, tool_context.invocation_state[GROUNDING])
    found = await grounding.search(query, module=module, source=source)
    return {"status": "success", "content": [{"json": numbered(found)}]}

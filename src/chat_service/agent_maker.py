"""The agent that answers: one for each request, because an ``Agent`` serves one invocation at a time."""

from __future__ import annotations

from strands import Agent, ModelRetryStrategy
from strands.agent.conversation_manager import SlidingWindowConversationManager
from strands.types.content import ContentBlock

from mongodb_session_manager import SessionManager

from .config import Settings
from .exceptions import ModelUnavailable
from .model_options import ModelOptions
from .providers import make_provider
from .rag.search_tool import search_documents
from .tools import calculate, current_time

__all__ = ["AGENT_ID", "AgentMaker", "prompt"]

AGENT_ID = "default"

_WINDOW = 40  # messages that the model sees
_SYSTEM_PROMPT = "You are a helpful assistant. Answer briefly. Use a tool when it knows better than you."


class AgentMaker:
    """Makes agents as the settings say. What all of them share is prepared once."""

    def __init__(self, settings: Settings) -> None:
        """Prepare.

        Args:
            settings: They choose the model.

        Raises:
            ConfigurationError: The model needs a package that is not installed, or a setting that is not there.
        """
        self._model = make_provider(settings)

    def make(self, session_manager: SessionManager | None, options: ModelOptions, *, searches: bool = False) -> Agent:
        """An agent with the conversation that its manager has loaded. No I/O.

        Args:
            session_manager: Opened for :data:`AGENT_ID`; ``None`` for a conversation that is kept nowhere.
            options: Passed to a model that knows what to do with them.
            searches: Whether the model is to search the documents itself.
        """
        return Agent(
            model=self._model(options),
            agent_id=AGENT_ID,
            system_prompt=_SYSTEM_PROMPT,
            tools=[current_time, calculate, *([search_documents] if searches else [])],
            conversation_manager=SlidingWindowConversationManager(window_size=_WINDOW),
            session_manager=session_manager,
            retry_strategy=_Retries(max_attempts=3, initial_delay=1, max_delay=4),
            callback_handler=None,
        )


class _Retries(ModelRetryStrategy):
    """Asks an unavailable model twice more, after one second and after two: somebody waits for the answer."""

    def is_retryable(self, exception: Exception) -> bool:
        """Whether another attempt may help. A silent server has had its time already."""
        return isinstance(exception, ModelUnavailable) and not exception.silent


def prompt(query: str, selected_text: str | None) -> list[ContentBlock]:
    """The user's message as it is stored: the selected text, if any, in a block of its own before the question.

    These marks tell programs which block it is. What a model is given has other ones (:mod:`chat_service.rag.fence`).
    """
    if selected_text is None:
        return [{"text": query}]
    enclosed = selected_text.replace("</selected_text>", "")
    return [{"text": f"<selected_text>\n{enclosed}\n</selected_text>"}, {"text": query}]

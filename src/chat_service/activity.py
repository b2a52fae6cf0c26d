"""What a session has cost, as it goes over the wire: its agents, its newest turns, its database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from statistics import fmean
from typing import Any, Self

from pydantic import BaseModel

from mongodb_session_manager import AgentSummary, SessionSummary

from .models import MessageView, plain
from .stores.tally import StoreUse

__all__ = ["Activity", "RunningTurn", "Suggestions"]

_NEWEST = 50
_SUMS = ("input_tokens", "output_tokens", "total_tokens", "model_calls")


class AgentActivity(BaseModel):
    """An agent: what it keeps, and what it has cost."""

    agent_id: str
    message_count: int
    state: dict[str, Any]
    totals: dict[str, Any]

    @classmethod
    def of(cls, agent: AgentSummary) -> Self:
        """The view of an agent in the catalogue."""
        return cls(
            agent_id=plain(agent.agent_id),
            message_count=agent.message_count,
            state=plain(agent.state),
            totals=plain(agent.totals),
        )


class Totals(BaseModel):
    """What all agents of a session have cost."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    average_latency_ms: float
    model_calls: int

    @classmethod
    def of(cls, agents: Iterable[AgentSummary], newest: Iterable[MessageView]) -> Self:
        """Sums over agents; the latency is that of a model call, of the newest ones where no provider tells."""
        totals = [agent.totals for agent in agents]
        sums = {name: sum(int(each.get(name) or 0) for each in totals) for name in _SUMS}
        latency, calls = sum(int(each.get("latency_ms") or 0) for each in totals), sums["model_calls"]
        if latency and calls:
            return cls(**sums, average_latency_ms=round(latency / calls, 1))
        measured = [each.latency_ms for each in newest if each.latency_ms is not None]
        return cls(**sums, average_latency_ms=round(fmean(measured), 1) if measured else 0.0)


class TurnActivity(BaseModel):
    """A question with its answer; its numbers are those of all model calls that it took.

    Attributes:
        message_id: Of the last message of the answer.
        created_at: Of that message.
        time_to_first_token_ms: From the question to its first word.
    """

    message_id: str
    created_at: datetime
    time_to_first_token_ms: float | None
    latency_ms: float | None
    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, answer: list[MessageView]) -> Self:
        """The turn to which these messages of the assistant belong."""
        latencies = [each.latency_ms for each in answer if each.latency_ms is not None]
        times = [each.time_to_first_token_ms for each in answer if each.text]
        usages = [each.usage for each in answer if each.usage]
        return cls(
            message_id=answer[-1].message_id,
            created_at=answer[-1].created_at,
            time_to_first_token_ms=next((time for time in times if time is not None), None),
            latency_ms=sum(latencies) if latencies else None,
            input_tokens=sum(usage.input_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
        )


class Activity(BaseModel):
    """What a session has cost. ``last_turn`` is known to the process that ran it, for some time."""

    session_id: str
    agents: list[AgentActivity]
    totals: Totals
    turns: list[TurnActivity]
    last_turn: StoreUse | None

    @classmethod
    def of(cls, session: SessionSummary, newest: list[MessageView], last_turn: StoreUse | None) -> Self:
        """The activity in a session.

        Args:
            session: From the catalogue.
            newest: Its newest messages.
            last_turn: What the last turn asked of the database.
        """
        agents = session.agents.values()
        return cls(
            session_id=session.session_id,
            agents=[AgentActivity.of(agent) for agent in agents],
            totals=Totals.of(agents, newest),
            turns=[TurnActivity.of(answer) for answer in _answers(newest)][-_NEWEST:],
            last_turn=last_turn,
        )


class RunningTurn(BaseModel):
    """Whether an answer is being written in a session. The id with ``-0`` behind it reads it from its beginning."""

    running: bool
    turn_id: str | None


class Suggestions(BaseModel):
    """Questions to begin with."""

    suggestions: list[str]


def _answers(messages: list[MessageView]) -> Iterator[list[MessageView]]:
    """The assistant's messages from one question to the next. What comes before the first question is cut off."""
    answer: list[MessageView] | None = None
    for message in messages:
        if message.role == "assistant" and answer is not None:
            answer.append(message)
        elif message.role == "user" and message.kind == "text":
            if answer:
                yield answer
            answer = []
    if answer:
        yield answer

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from strands import Agent

from chat_service.demo_model import DemoModel
from chat_service.rag.evidence import EVIDENCE, Evidence
from chat_service.rag.passages import Passage, Retrieved
from chat_service.tools import calculate, current_time

from .retrievers import SESSIONS, TURNS


@pytest.fixture
def agent() -> Agent:
    return Agent(model=DemoModel(delay=0), tools=[current_time, calculate], callback_handler=None)


def answer(agent: Agent, question: str, *found: Passage) -> str:
    evidence = Evidence()
    evidence.add(Retrieved(found, is_supported=bool(found)))
    return str(agent(question, invocation_state={EVIDENCE: evidence})).strip()


def test_it_says_that_it_is_no_language_model(agent: Agent) -> None:
    assert "no language model" in answer(agent, "Hello!")
    assert "no language model" in answer(agent, "Are you an LLM?")


def test_the_first_answer_says_so_whatever_was_asked(agent: Agent) -> None:
    assert "no language model" in answer(agent, "What is a session?")
    assert "no language model" not in answer(agent, "What is a session?")


def test_it_quotes_the_passages_that_were_found_under_their_numbers(agent: Agent) -> None:
    said = answer(agent, "Can two writers interleave?", SESSIONS, TURNS)
    assert "The documents say:" in said
    assert f"“{SESSIONS.text}” [1]" in said
    assert f"“{TURNS.text}” [2]" in said


def test_a_passage_that_fits_much_worse_than_the_best_is_not_quoted(agent: Agent) -> None:
    said = answer(agent, "Can two writers interleave?", TURNS, replace(SESSIONS, similarity_score=0.4))
    assert "[1]" in said
    assert "[2]" not in said


def test_a_passage_without_a_sentence_is_named(agent: Agent) -> None:
    said = answer(agent, "How does it run?", replace(TURNS, text="```\nmake run\n```"))
    assert "See “Turns” [1]." in said


def test_it_admits_that_the_documents_hold_no_answer(agent: Agent) -> None:
    said = answer(agent, "Which wine goes with fish?")
    assert "not in these documents" in said
    assert "[" not in said


def test_it_says_that_it_was_given_no_documents(agent: Agent) -> None:
    assert "no documents" in str(agent("What is a session?"))


@pytest.mark.parametrize(("order", "said"), [("Count to 3", "1, 2, 3."), ("Please count from one to 2!", "1, 2.")])
def test_it_counts(agent: Agent, order: str, said: str) -> None:
    assert answer(agent, order) == said


def test_it_counts_no_further_than_to_a_thousand(agent: Agent) -> None:
    assert answer(agent, "Count to 999999999").endswith("999, 1000.")


@pytest.mark.parametrize(
    ("told", "asked", "expected"),
    [
        ("My name is Ada.", "What is my name?", "Your name is Ada."),
        ("my name is Ada and my favourite colour is dark blue", "What's my favourite colour?", "dark blue"),
        ("My name is Ada. Can two writers interleave?", "What is my name?", "Your name is Ada."),
        ("Call me Grace", "Who am I?", "You are Grace."),
        ("My cats are Tom and Kit", "what are my cats", "Your cats are Tom and Kit."),
        ("My dog is called Rex", "What is my dog called?", "Your dog is called Rex."),
        ("My dog is called Rex.", "what's my dog's name", "Your dog is called Rex."),
        ("my dog's name is Rex", "What is my dog called?", "Your dog's name is Rex."),
        ("my dog’s name is Rex", "What’s my dog's name?", "Your dog's name is Rex."),
        ("My dog is named Rex", "Do you know what my dog is called?", "Your dog is named Rex."),
        ("My cats are called Tom and Kit", "What are my cats called?", "Your cats are called Tom and Kit."),
        ("My dog is called Rex and my name is Ada", "Who am I?", "You are Ada."),
        ("My name is Ada and I love hiking", "What is my name?", "Your name is Ada."),
        ("My name is Ada, but I like to be called Countess", "What is my name?", "Your name is Ada."),
        ("My name is Ada and I love hiking", "What do I love?", "You love hiking."),
        ("I love my dog. I love tea and I hate rain.", "What do I love?", "You love your dog; you love tea."),
        ("My name is Ada and I love hiking", "What do you remember?", "told me: your name is Ada; you love hiking."),
        ("Tell me what my dog is called", "What do you remember?", "You have told me nothing about yourself yet."),
        ("My name is Ada.", "What do you remember?", "your name is Ada"),
        ("Good day to you all, machine", "What did I say first?", "“Good day to you all, machine”"),
    ],
)
def test_it_remembers_what_the_user_said(agent: Agent, told: str, asked: str, expected: str) -> None:
    agent(told)
    agent("What is a session?")
    assert expected in answer(agent, asked)


def test_the_newest_word_on_a_matter_counts(agent: Agent) -> None:
    agent("My name is Ada.")
    agent("My name is Grace.")
    assert answer(agent, "What is my name?") == "Your name is Grace."


@pytest.mark.parametrize(
    ("told", "noted"),
    [
        ("My dog is called Rex", ["your dog is called Rex"]),
        ("my dog's name is Rex", ["your dog's name is Rex"]),
        ("My name is Ada and I love hiking", ["your name is Ada", "you love hiking"]),
        ("My name is Ada, and my dog is called Rex.", ["your name is Ada", "your dog is called Rex"]),
    ],
)
def test_it_says_what_it_will_remember(agent: Agent, told: str, noted: list[str]) -> None:
    assert answer(agent, told) == " ".join(f"I will remember for this session: {fact}." for fact in noted)


def test_what_something_is_called_and_what_its_name_is_are_one_matter(agent: Agent) -> None:
    agent("My dog is called Rex.")
    agent("My dog's name is Bello.")
    assert answer(agent, "What is my dog called?") == "Your dog's name is Bello."
    assert answer(agent, "What do you remember?") == "In this session you told me: your dog's name is Bello."


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ("What is my name?", "your name"),
        ("What is my dog called?", "your dog's name"),
        ("What is my dog's name?", "your dog's name"),
        ("What do I love?", "what you love"),
    ],
)
def test_it_says_what_it_was_not_told(agent: Agent, asked: str, missing: str) -> None:
    agent("My cat is called Tom and I like rain.")
    assert answer(agent, asked) == f"You have not told me {missing} yet."


def test_it_does_not_invent_what_it_was_not_told(agent: Agent) -> None:
    assert answer(agent, "What is my name?") == "You have not told me your name yet."
    assert "first thing" in Agent(model=agent.model, callback_handler=None)("What did I say first?").message["content"][
        0
    ].get("text", "")


@pytest.mark.parametrize("order", ["calculate 2*21", "What is 2 * 21?", "Please work out (2 * 21) + 0"])
def test_it_calculates_with_the_tool(agent: Agent, order: str) -> None:
    assert answer(agent, order) == "The tool answered: 42."
    assert [block for block in agent.messages[1]["content"] if "toolUse" in block]
    assert agent.messages[2]["content"][0]["toolResult"]["status"] == "success"


@pytest.mark.parametrize("order", ["What time is it?", "use the clock tool"])
def test_it_asks_the_clock(agent: Agent, order: str) -> None:
    assert "UTC" in answer(agent, order)
    assert agent.event_loop_metrics.tool_metrics["current_time"].success_count == 1


@pytest.mark.parametrize(
    "question",
    [
        "Where is my data stored, and what is the time limit?",
        "What are my options?",
        "Hi, what are turns?",
        "Which language model can I use?",
        "What changed between 3.11-3.13?",
    ],
)
def test_a_question_about_documents_is_not_taken_for_talk(agent: Agent, question: str) -> None:
    assert f"“{TURNS.text}” [1]" in answer(agent, question, TURNS)


def test_it_answers_a_courtesy(agent: Agent) -> None:
    assert answer(agent, "Thanks!").startswith("All right.")


def test_a_tool_that_fails_is_reported_in_words(agent: Agent) -> None:
    assert "cannot work out" in answer(agent, "calculate 1/0")


def test_without_tools_it_calls_none() -> None:
    agent = Agent(model=DemoModel(delay=0), callback_handler=None)
    agent("What time is it?")
    assert len(agent.messages) == 2


async def test_it_streams_word_by_word_and_counts_the_words(agent: Agent) -> None:
    events: list[dict[str, Any]] = [event async for event in agent.stream_async("Which wine goes with fish?")]
    pieces = [event["data"] for event in events if "data" in event]
    assert len(pieces) > 10
    result = events[-1]["result"]
    assert "".join(pieces) == result.message["content"][0]["text"]
    usage = result.metrics.accumulated_usage
    assert usage["inputTokens"] == 5
    assert usage["outputTokens"] == len("".join(pieces).split())
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]

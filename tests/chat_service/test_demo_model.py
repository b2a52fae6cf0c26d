from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from strands import Agent

from chat_service.demo_model import DemoModel
from chat_service.passages import Library, Passage, documentation
from chat_service.tools import calculate, current_time

LIBRARY = Library(
    [
        Passage("README.md", "Sessions", "A session is one conversation with everything that belongs to it."),
        Passage("README.md", "Crashes", "The question is stored before the model answers."),
        Passage("docs/turns.md", "Turns", "Two writers cannot interleave: one of them is told that it is busy."),
    ]
)


@pytest.fixture
def agent() -> Agent:
    return Agent(model=DemoModel(LIBRARY, delay=0), tools=[current_time, calculate], callback_handler=None)


def answer(agent: Agent, question: str) -> str:
    return str(agent(question)).strip()


def test_it_says_that_it_is_no_language_model(agent: Agent) -> None:
    assert "no language model" in answer(agent, "Hello!")
    assert "no language model" in answer(agent, "Are you an LLM?")


def test_the_first_answer_says_so_whatever_was_asked(agent: Agent) -> None:
    assert "no language model" in answer(agent, "What is a session?")
    assert "no language model" not in answer(agent, "What is a session?")


def test_it_quotes_the_passage_that_shares_words_with_the_question(agent: Agent) -> None:
    said = answer(agent, "Can two writers interleave?")
    assert "“Two writers cannot interleave: one of them is told that it is busy.”" in said
    assert "docs/turns.md" in said
    assert "everything that belongs to it" not in said


def test_it_admits_that_it_found_nothing(agent: Agent) -> None:
    assert "found nothing" in answer(agent, "Which wine goes with fish?")


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


def test_a_tool_that_fails_is_reported_in_words(agent: Agent) -> None:
    assert "cannot work out" in answer(agent, "calculate 1/0")


def test_without_tools_it_calls_none() -> None:
    agent = Agent(model=DemoModel(LIBRARY, delay=0), callback_handler=None)
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


def test_the_documentation_is_found_with_the_package_alone() -> None:
    found = documentation().search("What survives a crash?")
    assert found
    assert "survives" in found[0].text


def test_the_documentation_of_the_checkout_is_quoted_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "zebras.md").write_text(
        "# Zebras\n\nA [zebra](https://example.org) is `striped` all over,\nand **never** plain.\n\n"
        "```\nzebra code\n```\n"
    )
    monkeypatch.setattr("chat_service.passages._CHECKOUT", tmp_path)
    found = documentation().search("zebra")
    assert [(passage.source, passage.heading) for passage in found] == [("docs/zebras.md", "Zebras")]
    assert found[0].text == "A zebra is striped all over, and never plain."

from __future__ import annotations

import pytest

from chat_service.small_talk import is_small_talk, sum_asked, time_asked


@pytest.mark.parametrize(
    "text",
    [
        "Hello",
        "hi there!",
        "Hello! How are you today?",
        "Good morning, thanks a lot.",
        "ok",
        "Who are you?",
        "Are you a language model?",
        "What time is it?",
        "Could you tell me what time it is now?",
        "2*3",
        "What is 17 * 23?",
        "What time is it? And what is 1.5 + 2?",
        "count to 5",
        "My name is Ada",
        "My name is Ada, and my dog is called Rex.",
        "Hi, my name is Ada and I like tea",
        "my favourite colour is dark blue",
        "What's my dog’s name?",
        "What did I say first?",
        "What did I just ask you?",
        "Use the calculator: 3*4",
        "use the calculator to work out 2*21",
    ],
)
def test_what_asks_nothing_of_documents_is_small_talk(text: str) -> None:
    assert is_small_talk(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        "Hello, what is a session?",
        "Hi. How do I fork a session?",
        "What is a session?",
        "session",
        "What is the time limit of a turn?",
        "What time is stored with a message?",
        "Thanks, and how do I delete it?",
        "Is Python 3.11-3.13 supported?",
        "What happened on 2026-11-21?",
        "What does 500/503 mean?",
        "my session is busy",
        "Where is my data stored?",
        "What are my options?",
        "Which language model can I use?",
        "I like to delete a session",
        "How do I call me back?",
    ],
)
def test_what_may_be_a_question_about_documents_is_none(text: str) -> None:
    assert not is_small_talk(text)


def test_a_sum_is_found_among_other_sentences_and_not_in_a_name_or_a_date() -> None:
    assert sum_asked("Hello! What is (2 + 3) * 4?") == "(2 + 3) * 4"
    assert sum_asked("Please work out 1.5*-2") == "1.5*-2"
    assert sum_asked("Which release came on 2026-11-21?") is None
    assert sum_asked("42") is None


def test_the_time_is_asked_for_and_not_a_time() -> None:
    assert time_asked("Hi! What's the time?")
    assert not time_asked("What is the time between two renewals?")


def test_nobody_talks_at_length() -> None:
    assert is_small_talk("Hello! " * 40)
    assert not is_small_talk("Hello! " * 50)
    assert sum_asked("1+" * 50_000 + "1") is None

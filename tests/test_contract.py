"""The contract suite: this library passes all but what is named here, and what the page says of the SDK's is true."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import threading
import unittest
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from strands import Agent, tool
from strands.hooks import AfterInvocationEvent, HookRegistry
from strands.session import FileSessionManager, SessionManager

from mongodb_session_manager.testing import (
    CAPABILITIES,
    CONTRACT,
    Check,
    NotOffered,
    Redacted,
    Report,
    Result,
    ScriptedModel,
    Subject,
    ToolCall,
    comparison,
    files,
    mongodb,
    run,
    snapshots,
)
from mongodb_session_manager.testing.__main__ import BEGIN, END, main, with_table
from mongodb_session_manager.testing.acting import difference
from mongodb_session_manager.testing.subject import subject_of

OUR_FAILURES = {
    "check_what_a_context_manager_took_out": "the SDK tells no session manager that it changed a stored message",
    "check_the_system_prompt": "an agent keeps the system prompt that it was made with, or none",
    "check_a_state_of_20_megabytes": "a state is one value of 12 MB at most",
    "check_the_next_turn_need_not_wait": "a killed process' turn has to expire first",
    "check_it_needs_no_server": "MongoDB is one",
}
"""What our session manager does not pass, and why."""

NOT_OFFERED_BY_US = {"check_an_earlier_state_comes_back": "it has no checkpoints"}

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "contract-suite.md"


# Ours


@pytest.fixture
def ours(mongo_uri: str) -> Iterator[Subject]:
    with mongodb(mongo_uri, "tests", turn_timeout=3.0) as subject:
        yield subject


@pytest.mark.parametrize("check", CONTRACT, ids=str)
def test_our_session_manager_keeps_every_promise_but_those_that_are_named(check: Check, ours: Subject) -> None:
    if check.name in NOT_OFFERED_BY_US:
        with pytest.raises(NotOffered, match=NOT_OFFERED_BY_US[check.name]):
            check(ours)
    elif check.name in OUR_FAILURES:
        assert run(ours, [check]).failed, "it passes now: take it off the list, and call `make contract`"
    else:
        check(ours)


def test_the_lists_of_what_we_do_not_pass_name_checks_that_there_are() -> None:
    assert {*OUR_FAILURES, *NOT_OFFERED_BY_US} <= {check.name for check in CONTRACT}


# The SDK's, and the page


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    """Of the SDK's session managers, run side by side."""
    folder = tmp_path_factory.mktemp("contract")
    subjects = [
        files(str(folder / "files")),
        snapshots(str(folder / "snapshots")),
        snapshots(str(folder / "each_message"), "message"),
    ]
    with ThreadPoolExecutor(len(subjects)) as pool:
        return [*pool.map(run, subjects)]


def test_the_page_shows_what_each_session_manager_passes(reports: list[Report]) -> None:
    def outcome(check: Check) -> Any:
        if check.name in NOT_OFFERED_BY_US:
            return "not offered"
        return "failed" if check.name in OUR_FAILURES else "passed"

    ours = Report("MongoDBSessionManager", tuple(Result(check, outcome(check)) for check in CONTRACT))
    expected = table(comparison([ours, *reports]))

    assert table(PAGE.read_text().partition(BEGIN)[2].partition(END)[0]) == expected, (
        "`make contract` brings it up to date"
    )


def test_the_sdks_session_managers_pass_something_that_ours_does_not(reports: list[Report]) -> None:
    passed = {result.check.name for report in reports for result in report.of("passed")}

    assert {*OUR_FAILURES, *NOT_OFFERED_BY_US} - passed == set()


def table(text: str) -> list[str]:
    """The rows of a comparison."""
    return [line for line in text.splitlines() if line.startswith("|")]


# Every check can fail


class Forgetful(SessionManager[Any]):
    """Stores nothing."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id

    def initialize(self, agent: Any, **kwargs: Any) -> None:
        return None

    def append_message(self, message: Any, agent: Any, **kwargs: Any) -> None:
        return None

    def sync_agent(self, agent: Any, **kwargs: Any) -> None:
        return None

    def redact_latest_message(self, redact_message: Any, agent: Any, **kwargs: Any) -> None:
        return None

    def initialize_multi_agent(self, source: Any, **kwargs: Any) -> None:
        return None

    def sync_multi_agent(self, source: Any, **kwargs: Any) -> None:
        return None


def forgetful() -> Subject:
    """Stores nothing; whoever looks into its store finds something else each time, and more."""
    looks: list[bytes] = []

    def stored(session_id: str) -> bytes:
        looks.append(bytes(10**6))
        return b"".join(looks)

    return Subject(
        "Forgetful",
        Forgetful,
        child=("tests.test_contract:forgetful",),
        delete_session=lambda session_id: None,
        stored=stored,
        bytes_written=lambda: len(stored("")),
        checkpoint=lambda manager, agent: "",
        go_back=lambda manager, agent, name: None,
    )


class RefusesTooLate(FileSessionManager):
    """Notices at the end of a turn that others had one since its agent was restored, and goes on refusing."""

    turns: ClassVar[Counter[str]] = Counter()

    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
        super().register_hooks(registry, **kwargs)
        registry.add_callback(AfterInvocationEvent, self.refuse)

    def initialize(self, agent: Any, **kwargs: Any) -> None:
        super().initialize(agent, **kwargs)
        self.known = self.turns[self.session_id]

    def refuse(self, event: AfterInvocationEvent) -> None:
        if self.known != self.turns[self.session_id]:
            raise RuntimeError("too late")
        self.turns[self.session_id] += 1
        self.known += 1


class KeepsALog(FileSessionManager):
    """Writes down everything that is said, and never takes it back."""

    log: ClassVar[list[str]] = []

    def create_message(self, session_id: str, agent_id: str, session_message: Any, **kwargs: Any) -> None:
        self.log.append(str(session_message))
        super().create_message(session_id, agent_id, session_message, **kwargs)


def test_every_check_fails_for_some_session_manager(reports: list[Report], tmp_path: Path) -> None:
    broken = [
        run(forgetful()),
        run(Subject("Late", lambda session_id: RefusesTooLate(session_id, str(tmp_path))), of("conflict")),
        run(Subject("Muddled", lambda _: FileSessionManager("same", str(tmp_path))), [*of("restore"), *of("order")]),
        run(
            Subject(
                "Log",
                lambda session_id: KeepsALog(session_id, str(tmp_path)),
                stored=lambda _: "".join(KeepsALog.log).encode(),
            ),
            of("redaction"),
        ),
    ]
    failed = {result.check.name for report in [*reports, *broken] for result in report.failed}

    assert {check.name for check in CONTRACT} - failed - {*OUR_FAILURES} == set()


def of(capability: str) -> list[Check]:
    return [check for check in CONTRACT if check.capability == capability]


# The tools


def test_the_checks_are_plain_functions_each_with_its_capability_and_its_promise() -> None:
    assert [*dict.fromkeys(check.capability for check in CONTRACT)] == [*CAPABILITIES]
    assert len({check.name for check in CONTRACT}) == len({check.promise for check in CONTRACT}) == len(CONTRACT)
    assert all(check.name.startswith("check_") and " " in check.promise for check in CONTRACT)
    assert all(inspect.isfunction(check.function) for check in CONTRACT)


def test_a_report_says_what_failed_and_why_without_what_a_session_manager_says() -> None:
    def check_well(subject: Subject) -> None:
        """All is well."""

    def check_promise(subject: Subject) -> None:
        """It keeps
        its word."""
        raise AssertionError("it does not")

    def check_error(subject: Subject) -> None:
        """It has no errors."""
        raise KeyError("hello, my name is Ada")

    def check_extra(subject: Subject) -> None:
        """It has something more."""
        raise NotOffered("it has no more")

    checks = [Check("manners", check) for check in (check_well, check_promise, check_error, check_extra)]
    report = run(Subject("Mine", Forgetful), checks)

    assert [result.outcome for result in report.results] == ["passed", "failed", "failed", "not offered"]
    assert [result.check.name for result in report.failed] == ["check_promise", "check_error"]
    assert [result.reason for result in report.results] == ["", "it does not", "raises KeyError", "it has no more"]
    assert str(report).splitlines()[0] == "Mine: 1 passed, 2 failed, 1 not offered"
    assert "manners: promise (it does not)" in str(report)
    assert report.markdown().splitlines() == [
        "|  | `Mine` |",
        "|---|---|",
        "| **manners** | 1 of 4 |",
        "| All is well | yes |",
        "| It keeps its word | **no** |",
        "| It has no errors | **no** |",
        "| It has something more | – |",
        "",
        "Why something did not pass, or was not asked:",
        "",
        "* *manners: promise*: it does not (`Mine`)",
        "* *manners: error*: raises KeyError (`Mine`)",
        "* *manners: extra*: it has no more (`Mine`)",
    ]
    assert "Ada" not in str(report) + report.markdown()


def test_a_check_that_hangs_has_failed_and_the_next_one_is_asked() -> None:
    end = threading.Event()

    def check_patience(subject: Subject) -> None:
        """It comes to an end."""
        end.wait(30)

    def check_well(subject: Subject) -> None:
        """All is well."""

    report = run(Subject("Mine", Forgetful), [Check("order", check_patience), Check("order", check_well)], seconds=0.1)
    end.set()

    assert [(result.outcome, result.reason) for result in report.results] == [
        ("failed", "not done after 0.1 seconds"),
        ("passed", ""),
    ]


def test_what_a_subject_does_not_offer_is_a_skip_for_every_test_framework() -> None:
    assert issubclass(NotOffered, unittest.SkipTest)
    report = run(Subject("Mine", Forgetful), of("crash"))
    assert {result.outcome for result in report.results} == {"not offered"}


def test_a_subject_cleans_up_and_shows_nothing_of_how_it_is_made_elsewhere() -> None:
    gone: list[str] = []
    with Subject("Mine", Forgetful, child=("a:b", "mongodb://u:secret@h"), cleanup=lambda: gone.append("all")) as mine:
        assert gone == []
    assert gone == ["all"]
    assert "secret" not in repr(mine)


@pytest.mark.parametrize(
    ("child", "error", "says"),
    [
        (["tests.test_contract"], ValueError, "'tests.test_contract' is no function"),
        (["tests.test_contract:nothing"], ValueError, "name one as 'module:function'"),
        (["json:dumps", "text"], TypeError, "'json:dumps' makes a str, not a Subject"),
    ],
)
def test_a_wrong_name_of_a_subject_says_so(child: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        subject_of(child)


@pytest.mark.parametrize(
    ("found", "expected", "place"),
    [
        ({"a": [1, 2]}, {"a": [1, 2]}, None),
        ({"a": [1, True]}, {"a": [1, 1]}, "a[1]: bool, not int"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "the top: other keys"),
        ([{"x": "y"}], [{"x": "z"}], "[0].x: another str"),
        ([0.0], [-0.0], "[0]: another float"),
        ([float("nan")], [float("nan")], None),
        ([[]], [[1]], "[0]: 0 elements, not 1"),
        ({"\ud800": b""}, {"\ud800": "x"}, "\\ud800: bytes, not str"),
    ],
)
def test_a_difference_is_named_by_its_place(found: object, expected: object, place: str | None) -> None:
    assert difference(found, expected) == place


def test_the_scripted_model_does_what_is_written_down() -> None:
    seen: list[int] = []

    @tool
    def look() -> str:
        """Look."""
        return "there"

    model = ScriptedModel(
        ToolCall("look"),
        lambda messages: seen.append(len(messages)) or "found it",
        Redacted("so it is", user="[x]", assistant="[y]"),
        ValueError("ill"),
    )
    agent = Agent(model=model, tools=[look], callback_handler=None)
    agent("one")
    agent("two")
    with pytest.raises(ValueError, match="ill"):
        agent("three")

    blocks: list[Any] = [message["content"][0] for message in agent.messages]
    assert [block.get("text", next(iter(block))) for block in blocks] == [
        *("one", "toolUse", "toolResult", "found it", "[x]", "[y]", "three")
    ]
    assert (seen, model.calls) == ([3], 4)


# The command, and the page


def test_the_command_fails_when_the_named_session_manager_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["mongodb_session_manager.testing:files", str(tmp_path / "files")]

    assert main(["--only", "order", *named]) == 1
    assert "FileSessionManager: 5 passed, 1 failed, 0 not offered" in capsys.readouterr().out
    assert main(["--only", "redaction", *named]) == 0


def test_the_command_compares_all_of_them(mongo_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "redaction", "--uri", mongo_uri]) == 0
    assert re.findall(r"^\w\S*: .*", capsys.readouterr().out, re.MULTILINE) == [
        "MongoDBSessionManager: 6 passed, 0 failed, 0 not offered",
        "FileSessionManager: 6 passed, 0 failed, 0 not offered",
        "SnapshotSessionManager: 6 passed, 0 failed, 0 not offered",
        "SnapshotSessionManager(save_latest_on='message'): 6 passed, 0 failed, 0 not offered",
    ]


def test_a_page_gets_a_whole_comparison_or_none(reports: list[Report], capsys: pytest.CaptureFixture[str]) -> None:
    page = "before\n<!-- contract: begin -->\nold\n<!-- contract: end -->\nafter\n"
    written = with_table(page, reports)

    assert with_table(written, reports) == written
    assert "\nold\n" not in written
    assert (written.splitlines()[0], written.splitlines()[-1]) == ("before", "after")
    with pytest.raises(ValueError, match="no lines <!-- contract: begin -->"):
        with_table("before\nafter\n", reports)
    with pytest.raises(SystemExit):
        main(["--only", "order", "--write", str(PAGE)])
    assert "--write takes the whole comparison" in capsys.readouterr().err


def test_the_test_on_the_page_runs_and_counts_a_skip_for_what_is_not_offered(tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(import pytest.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "test_mine.py").write_text(snippet)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "convenience or redaction", tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout
    assert "7 passed, 1 skipped" in ended.stdout


IMPORT = """
import sys, threading
import bson, pymongo, pymongo.monitoring, strands, strands.session, strands.multiagent.graph
seen = []

def audit(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(("socket.", "subprocess.", "os.system", "os.fork", "os.exec", "_thread.start")):
        seen.append((event, repr(arguments)))

sys.addaudithook(audit)
import mongodb_session_manager.testing
assert not seen, seen
assert not {"pytest", "hypothesis", "mongodb_session_manager.embedded"} & {*sys.modules}
"""


def test_importing_the_suite_needs_no_test_framework_and_does_nothing() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")

"""Imports point one way, and importing does nothing else."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "src" / "mongodb_session_manager"
SERVICE = ROOT / "src" / "chat_service"
PACKAGE = "mongodb_session_manager"

THIRD_PARTY = {"boto3", "botocore", "bson", "gridfs", "opentelemetry", "pymongo", "strands", "typing_extensions"}
PURE = {"codec", "documents", "errors", "large_values", "metrics", "mongodb_commands", "plain_json", "store"}
IO = {
    "asyncio",
    "concurrent",
    "http",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "pymongo",
    "selectors",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
}


def layers(text: str) -> list[list[str]]:
    """The rows of modules that a document draws in its block ``# layers``, from the bottom up."""
    block = text.partition("```\n# layers\n")[2].partition("```")[0]
    return [line.split() for line in block.splitlines() if line.strip()]


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def module_of(file: Path) -> str:
    """The module of the library that a file belongs to: a package inside it counts as one."""
    return file.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imports(file: Path, folder: Path, package: str) -> Iterator[tuple[str, list[str]]]:
    """Every import of a file, wherever it stands, as a full module and the names taken from it."""
    here = [package, *file.relative_to(folder).parent.parts]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])]), [alias.name for alias in node.names]


def library_imports(file: Path) -> set[str]:
    """The other modules of the library that a file of it uses."""
    modules = set()
    for module, names in imports(file, LIBRARY, PACKAGE):
        if module == PACKAGE:
            modules |= {*names}
        if module.startswith(f"{PACKAGE}."):
            modules.add(module.split(".")[1])
    return modules - {module_of(file)}


ORDER = [module for row in layers((ROOT / "ARCHITECTURE.md").read_text()) for module in row]


def test_the_documented_order_names_every_module_once() -> None:
    there = {module_of(file) for file in files(LIBRARY)} - {"__init__"}

    assert sorted(ORDER) == sorted(there)


@pytest.mark.parametrize("file", files(LIBRARY), ids=lambda file: str(file.relative_to(LIBRARY)))
def test_a_module_imports_only_what_stands_before_it(file: Path) -> None:
    if file == LIBRARY / "__init__.py":
        return
    allowed = ORDER[: ORDER.index(module_of(file))]

    assert sorted(library_imports(file) - {*allowed}) == []


@pytest.mark.parametrize("file", files(LIBRARY), ids=lambda file: str(file.relative_to(LIBRARY)))
def test_the_library_stands_on_the_sdk_and_the_driver_alone(file: Path) -> None:
    tops = {module.partition(".")[0] for module, _ in imports(file, LIBRARY, PACKAGE)}

    extra = {"fastapi": {"fastapi"}, "cli": {"rich", "typer"}}.get(module_of(file), set())

    assert sorted(tops - sys.stdlib_module_names - THIRD_PARTY - extra - {PACKAGE}) == []


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_has_no_means_of_input_or_output(module: str) -> None:
    tops = {name.partition(".")[0] for name, _ in imports(LIBRARY / f"{module}.py", LIBRARY, PACKAGE)}

    assert sorted(tops & IO) == []
    assert library_imports(LIBRARY / f"{module}.py") <= PURE


def test_records_wait_for_nothing() -> None:
    tops = {name.partition(".")[0] for name, _ in imports(LIBRARY / "records.py", LIBRARY, PACKAGE)}

    assert sorted(tops & (IO - {"threading", "time"})) == []


@pytest.mark.parametrize("file", files(SERVICE), ids=lambda file: str(file.relative_to(SERVICE)))
def test_the_service_uses_the_librarys_public_names_alone(file: Path) -> None:
    import mongodb_session_manager
    from mongodb_session_manager import embedded, fastapi, telemetry

    offered = {PACKAGE: mongodb_session_manager}
    offered |= {f"{PACKAGE}.embedded": embedded, f"{PACKAGE}.fastapi": fastapi, f"{PACKAGE}.telemetry": telemetry}
    for module, names in imports(file, SERVICE, "chat_service"):
        if module.partition(".")[0] == PACKAGE:
            assert module in offered
            assert sorted({*names} - {*offered[module].__all__}) == []


IMPORT = """
import sys, threading
import bson, pymongo, pymongo.monitoring, strands, strands.session.repository_session_manager, strands.multiagent
seen = []

def audit(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(("socket.", "subprocess.", "os.system", "os.fork", "os.exec", "_thread.start")):
        seen.append((event, repr(arguments)))

before = threading.active_count()
sys.addaudithook(audit)
import mongodb_session_manager, mongodb_session_manager.embedded
assert threading.active_count() == before, threading.enumerate()
assert not seen, seen
"""


def test_importing_reads_no_network_writes_no_file_and_starts_no_thread() -> None:
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")

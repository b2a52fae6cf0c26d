"""The documents tell the truth: their snippets run, and every public name, route, setting and error is in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pymongo import MongoClient
from strands import Agent

import mongodb_session_manager
from chat_service import events
from chat_service.config import Settings
from chat_service.main import create_app
from chat_service.rag.sections import Anchors
from mongodb_session_manager import MongoDBSessionManagerFactory, embedded, fastapi, moving_in, testing
from tests.commands import Commands
from tests.models import ScriptedModel

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "src" / "chat_service"
LIBRARY = ROOT / "src" / "mongodb_session_manager"
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def prose() -> str:
    return "\n".join(page.read_text() for page in PAGES)


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda page: page.name)
async def test_the_snippets_of_a_page_run_one_after_the_other(
    page: Path, mongo_uri: str, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    database = f"docs_{page.stem.lower()}"
    names: dict[str, Any] = {"model": ScriptedModel("Ada"), "uri": mongo_uri, "Agent": Agent}
    names |= {name: getattr(mongodb_session_manager, name) for name in mongodb_session_manager.__all__}
    with MongoClient[Any](mongo_uri) as client, commands.unwatched():
        client.drop_database(database)
        names["factory"] = MongoDBSessionManagerFactory(client=client, database_name=database)
        names["manager"] = names["factory"].create_session_manager("user-123")
        names["agent"] = Agent(model=names["model"], session_manager=names["manager"], callback_handler=None)
        for snippet in snippets(page):
            code = snippet.replace('"mongodb://localhost:27017/?replicaSet=rs0"', "uri").replace(
                '"chat"', repr(database)
            )
            exec(compile(code, str(page), "exec"), names)
        for name in ("answer", "open_it", "keep"):
            if name in names:
                await names[name](*(("user-9", "Hello") if name == "answer" else ()))
        for app in [value for value in names.values() if isinstance(value, FastAPI)]:
            await ask_every_route_about_chats(app)
        names["factory"].close()
        client.drop_database(database)


async def ask_every_route_about_chats(app: FastAPI) -> None:
    async with (
        app.router.lifespan_context(app),
        AsyncClient(transport=ASGITransport(app), base_url="http://docs", headers={"session-id": "ada"}) as http,
    ):
        for path in app.openapi()["paths"]:
            if path.startswith("/chat"):
                response = await http.post(path, params={"prompt": "Who are you?"})
                assert (response.status_code, "Ada" in response.text) == (200, True), path


def test_every_public_name_is_documented() -> None:
    text = prose()
    packages = (mongodb_session_manager, embedded, fastapi, moving_in, testing)
    names = [name for package in packages for name in package.__all__]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_link_to_a_section_leads_to_a_heading() -> None:
    for page in PAGES:
        for name, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
            target = page.parent / name if name else page
            assert anchor in anchors(target), f"{page.name} links to {name}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    made = Anchors()
    return {made.of(heading.replace("`", "")) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_every_setting_route_event_and_error_of_the_service_is_documented() -> None:
    page = (ROOT / "docs" / "service.md").read_text()
    app = create_app(Settings(_env_file=None))
    kinds = (*get_args(events.Event), events.ResponseBlock)
    names = {name.upper() for name in Settings.model_fields}
    names |= {f"{method} {path}" for path, item in app.openapi()["paths"].items() for method in map(str.upper, item)}
    names |= {get_args(get_type_hints(kind)["event"])[0] for kind in kinds}
    families = "session|service|model|agent|internal|validation|knowledge_base"
    code = code_of(SERVICE / "exceptions.py", SERVICE / "middleware.py", LIBRARY / "fastapi" / "problems.py")
    names |= set(re.findall(rf'"((?:{families})_[a-z_]+)"', code))
    assert sorted(name for name in names if f"`{name}" not in page) == []


def test_every_route_event_and_error_for_an_application_of_ones_own_is_documented() -> None:
    page = (ROOT / "docs" / "fastapi.md").read_text()
    app = FastAPI()
    app.include_router(fastapi.health_router())
    app.include_router(fastapi.metrics_router())
    code = code_of(LIBRARY / "fastapi" / "problems.py", LIBRARY / "fastapi" / "streams.py")
    names = {*re.findall(r'"event": "(\w+)"', code), *re.findall(r'"((?:session|service|agent|internal)_\w+)"', code)}
    assert {"session_busy", "agent_error", "response_chunk", "error"} <= names
    assert sorted(name for name in names if f"`{name}`" not in page) == []
    assert [path for path in app.openapi()["paths"] if f"{path}`" not in page] == []


def code_of(*files: Path) -> str:
    return "\n".join(file.read_text() for file in files)

"""Answers from documents on disk, through the real knowledge base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import MakeService
from .running import Service, eventually

PAGES = {
    "animals/zebras.md": "# Zebras\n\nA zebra is striped.\n\n## Food\n\nZebras graze on savannah grass at dawn.\n",
    "animals/whales.md": "# Whales\n\nA whale is the largest animal. It breathes air through a blowhole.\n",
    "machines/engines.md": "# Engines\n\nAn engine burns diesel fuel in its cylinders.\n",
}


@pytest.fixture(scope="module", params=["step", "tool"])
def zoo(request: pytest.FixtureRequest, make_service: MakeService, tmp_path_factory: pytest.TempPathFactory) -> Service:
    folder = tmp_path_factory.mktemp("zoo")
    for name, text in PAGES.items():
        (folder / "pages" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pages" / name).write_text(text)
    service = make_service(retrieval=request.param, data_dir=folder, knowledge_paths=[Path(folder / "pages")])
    eventually(lambda: service.ask("What do zebras graze on?").status_code == 200, seconds=60)
    return service


def test_it_answers_from_the_document_and_cites_it(zoo: Service) -> None:
    body = zoo.ask("What do zebras graze on?").json()
    assert "Zebras graze on savannah grass at dawn." in body["response_text"]
    cited: dict[str, Any] = next(chunk for chunk in body["chunks"] if f"[{chunk['number']}]" in body["response_text"])
    assert cited["source_file"].endswith("zebras.md")
    assert 0 <= cited["similarity_score"] <= 1


def test_what_the_documents_do_not_hold_is_refused(zoo: Service) -> None:
    body = zoo.ask("Who composed the opera Tosca?").json()
    assert "not in these documents" in body["response_text"]
    assert body["chunks"] == []


def test_the_passages_are_there_after_a_reload(zoo: Service) -> None:
    body = zoo.ask("How does a whale breathe?").json()
    assert zoo.session(body["session_id"])["messages"][-1]["passages"] == body["chunks"] != []


def test_the_events_tell_of_each_stage(zoo: Service) -> None:
    events = zoo.events("Which fuel does an engine burn?")
    complete = next(event for event in events if event["event"] == "retrieval_complete")
    assert complete["timings"]["total"] > 0
    assert complete["chunks"]
    assert {"retrieval", "model"} <= {*events[-1]["metadata"]["timings"]}

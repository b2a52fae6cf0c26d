"""The container image, as far as it can be known without building it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.chat_service.running import ROOT, running

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
PINS = (ROOT / "requirements" / "service.txt").read_text()
INSTRUCTION = re.compile(r"[A-Z]+ ")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile in order: the name and what follows it."""
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    assert all(INSTRUCTION.match(line) for line in lines if line)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


def of(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def test_it_is_built_in_two_stages_on_one_pinned_slim_image() -> None:
    assert of("ARG") == [f"PYTHON={of('ARG')[0].partition('=')[2]}"]
    assert re.fullmatch(r"PYTHON=python:3\.\d+\.\d+-slim-[a-z]+", of("ARG")[0])
    assert of("FROM") == ["${PYTHON} AS packages", "${PYTHON}"]


def test_its_last_word_on_the_user_is_a_number_other_than_root() -> None:
    final = instructions()[[name for name, _ in instructions()].index("FROM", 2) :]
    users = [rest for name, rest in final if name == "USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", users[-1])
    assert f"--uid {users[-1].partition(':')[0]} " in DOCKERFILE
    after = final[[name for name, _ in final].index("USER") :]
    assert {name for name, _ in after} <= {"USER", "EXPOSE", "HEALTHCHECK", "CMD"}


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    sources = [word for rest in of("COPY") if "--from" not in rest for word in shlex.split(rest)[:-1]]
    documents = ["ARCHITECTURE.md", "LICENSE", "README.md", "docs"]
    assert sorted(sources) == sorted([*documents, "deploy/gunicorn.conf.py", "requirements/service.txt", "src"])
    assert [source for source in sources if not (ROOT / source).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert [line for line in ignored if line and line[0] == "!"] == [f"!{source}" for source in sorted(sources)]
    assert "*" in ignored


def test_what_is_installed_is_pinned_by_hash_and_names_no_registry() -> None:
    assert "--require-hashes" in DOCKERFILE
    blocks = re.split(r"\n(?=[a-z0-9])", PINS.split("\n", 2)[2].strip())
    assert len(blocks) > 50
    pinned = [block for block in blocks if re.match(r"[\w.-]+(\[\w+\])?==\S+", block) and "--hash=sha256:" in block]
    assert pinned == blocks
    assert "://" not in PINS
    development = (ROOT / "requirements" / "development.txt").read_text()
    pins = re.findall(r"^([\w.-]+==[^\s;]+)", PINS, re.MULTILINE)
    assert [pin for pin in pins if not re.search(rf"^{re.escape(pin)}(\s|;)", development, re.MULTILINE)] == []


def test_every_extra_that_the_service_can_use_is_installed() -> None:
    makefile = (ROOT / "Makefile").read_text()
    deployed = re.findall(r"^DEPLOYED = (.*)$", makefile, re.MULTILINE)[0].split()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    # A server of its own is not for production, and the others are for work on the library.
    elsewhere = {"cli", "dev", "embedded", "fastapi", "testing"}
    assert sorted(deployed) == sorted(extras.keys() - elsewhere)


ONLY_PINS = """
import json, sys
from importlib.abc import MetaPathFinder

class Refusing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)

refused = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Refusing())
import chat_service.main, chat_service.__main__, uvicorn_worker
from chat_service.config import Settings
for provider in ("demo", "openai", "anthropic", "bedrock", "ollama"):
    for store in ("mongodb", "postgres"):
        chat_service.main.create_app(
            Settings(
                _env_file=None, model_provider=provider, model_id="some", openai_api_key="k", anthropic_api_key="k",
                aws_region="eu-west-1", session_store=store, database_url="postgresql://u:p@127.0.0.1:1/d",
                otel_exporter_otlp_endpoint="http://127.0.0.1:1",
            )
        )
import chat_service.stores.postgres, mongodb_session_manager
"""


def test_the_service_needs_nothing_that_is_not_pinned_for_it(tmp_path: Path) -> None:
    pinned = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", PINS, re.MULTILINE)}
    refused = sorted(
        module
        for module, distributions in packages_distributions().items()
        if not {name.lower().replace("_", "-") for name in distributions} & (pinned | {"mongodb-session-manager"})
    )
    assert {"fiftyone", "pytest", "httpx2"} & {*refused}
    run = subprocess.run(
        [sys.executable, "-c", ONLY_PINS, json.dumps(refused)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


def health_check(port: int) -> int:
    [line] = of("HEALTHCHECK")
    command = json.loads(line.partition(" CMD ")[2])
    assert command[:2] == ["python", "-c"]
    return subprocess.run([sys.executable, *command[1:]], env={"PORT": str(port)}, stderr=subprocess.DEVNULL).returncode


def test_its_health_check_tells_whether_the_service_answers(tmp_path: Path, port: int, mongo_uri: str) -> None:
    assert health_check(port) != 0
    with running(tmp_path, port, MONGODB_URI=mongo_uri, MIN_POOL_SIZE="0"):
        assert health_check(port) == 0


@pytest.mark.parametrize("word", ["gunicorn", "/app/gunicorn.conf.py", "chat_service.main:create_app()"])
def test_it_starts_gunicorn_as_a_program_of_its_own(word: str) -> None:
    assert word in json.loads(of("CMD")[-1])  # not by a shell, which would keep the signal that ends it to itself

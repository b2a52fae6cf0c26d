"""Compose and Kubernetes: the files are what those programs take, and the service takes what they set."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from chat_service.config import ConfigurationError, Settings, load_settings
from chat_service.security.api_keys import made_for
from tests.chat_service.running import ROOT

from .gunicorn import configuration
from .nginx import CONFIGURATION

DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
NO_COMPOSE = "docker-compose is not installed (on Debian: apt-get install docker-compose)"


def composed(folder: Path, **values: str) -> Any:
    """What compose makes of the file and of ``.env``, a copy of the example with these values."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip(NO_COMPOSE)
    there = folder / "deploy"
    shutil.copytree(DEPLOY, there)
    settings = (DEPLOY / "example.env").read_text() + "".join(f"{name}={value}\n" for name, value in values.items())
    (there / ".env").write_text(settings)
    command = [program, "-f", str(there / "compose.yaml"), "--env-file", str(there / ".env")]
    command += ["--profile", "postgres", "--profile", "qdrant", "config"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return yaml.safe_load(run.stdout)


def accepted(monkeypatch: pytest.MonkeyPatch, folder: Path, values: dict[str, str]) -> Settings:
    """The settings of a container that starts with this environment."""
    monkeypatch.chdir(folder)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {"HOST": "0.0.0.0", **values}.items():
        monkeypatch.setenv(name, str(value))
    return load_settings()


def test_compose_has_three_replicas_behind_nginx_and_a_replica_set(tmp_path: Path) -> None:
    services = composed(tmp_path)["services"]
    optional = {"postgres", "qdrant"}
    mongo = {"mongo-1", "mongo-2", "mongo-3", "mongo-init"}
    assert services.keys() == {"nginx", "chat-1", "chat-2", "chat-3"} | mongo | optional
    assert {name: service["profiles"] for name, service in services.items() if "profiles" in service} == {
        name: [name] for name in optional
    }
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]
    assert [name for name in mongo | optional if {*services[name]["networks"]} != {"data"}] == []
    # No `latest`: what was tested once is what runs.
    assert [image for s in services.values() if not re.search(r":v?\d+\.\d+|^chat-service$", image := s["image"])] == []


def test_production_starts_with_what_compose_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, entry = made_for("ada")
    services = composed(tmp_path, API_KEYS=entry)["services"]
    for name in ("chat-1", "chat-2", "chat-3"):
        settings = accepted(monkeypatch, tmp_path, services[name]["environment"])
        assert (settings.environment, settings.has_debug_routes, len(settings.keys)) == ("production", False, 1)
        assert settings.forwarded_allow_ips == (services["nginx"]["networks"]["edge"]["ipv4_address"],)
        assert services[name]["read_only"] is True
    assert key not in str(services)


def test_production_does_not_start_with_the_example_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = composed(tmp_path)["services"]
    with pytest.raises(ConfigurationError, match="API_KEYS: missing"):
        accepted(monkeypatch, tmp_path, services["chat-1"]["environment"])


def test_nginx_knows_the_replicas_of_compose(tmp_path: Path) -> None:
    services = composed(tmp_path)["services"]
    named = re.findall(r"server ([\w-]+):8880 ", CONFIGURATION.read_text())
    assert named == [name for name in services if name.startswith("chat-")]
    assert "EXPOSE 8880" in (DEPLOY / "Dockerfile").read_text()


def test_each_replica_gets_the_time_to_end_that_it_needs(tmp_path: Path) -> None:
    replica = composed(tmp_path)["services"]["chat-1"]
    needed = configuration(**replica["environment"])["graceful_timeout"]
    assert int(replica["stop_grace_period"].removesuffix("s")) > needed
    pod = resources()["Deployment"]["spec"]["template"]["spec"]
    needed = configuration(**resources()["ConfigMap"]["data"])["graceful_timeout"]
    [container] = pod["containers"]
    rest = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > rest + needed


def resources() -> dict[str, Any]:
    found = [resource for file in KUBERNETES for resource in yaml.safe_load_all(file.read_text())]
    return {resource["kind"]: resource for resource in found}


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.name)
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_takes_the_file(file: Path, version: str) -> None:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout


def test_a_file_that_kubernetes_would_refuse_is_noticed(tmp_path: Path) -> None:
    wrong = (DEPLOY / "kubernetes" / "deployment.yaml").read_text().replace("readinessProbe", "readynessProbe")
    (tmp_path / "deployment.yaml").write_text(wrong)
    with pytest.raises(AssertionError, match="readynessProbe"):
        test_kubernetes_takes_the_file(tmp_path / "deployment.yaml", "1.37")


def test_a_pod_is_nobody_and_can_write_nothing_but_a_folder_in_memory() -> None:
    pod = resources()["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod['securityContext']['runAsUser']}:" in (DEPLOY / "Dockerfile").read_text()
    inside = container["securityContext"]
    assert (inside["readOnlyRootFilesystem"], inside["allowPrivilegeEscalation"]) == (True, False)
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert [(volume["name"], [*volume][1]) for volume in pod["volumes"]] == [("tmp", "emptyDir")]
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_the_resources_of_kubernetes_belong_together() -> None:
    found = resources()
    assert {resource["metadata"]["name"] for resource in found.values()} == {"chat-service"}
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"] == {"matchLabels": labels}
    assert found["Deployment"]["spec"]["selector"] == {"matchLabels": labels}
    [container] = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert [source[kind]["name"] for source in container["envFrom"] for kind in source] == ["chat-service"] * 2
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_production_starts_with_what_kubernetes_sets_once_the_secret_is_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resources()
    values = {**found["ConfigMap"]["data"], **found["Secret"]["stringData"]}
    with pytest.raises(ConfigurationError) as refused:
        accepted(monkeypatch, tmp_path, values)
    assert all(name in str(refused.value) for name in found["Secret"]["stringData"])
    filled = {"API_KEYS": made_for("ada")[1], "MONGODB_URI": "mongodb://db/", "RATE_LIMIT_STORAGE": "mongodb://db/"}
    assert accepted(monkeypatch, tmp_path, {**values, **filled}).environment == "production"

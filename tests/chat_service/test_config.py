from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chat_service.config import ConfigurationError, Settings, load_settings
from chat_service.effective import default, effective

from .running import ROOT


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_an_environment_everything_has_a_default_that_works() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.model_provider) == ("127.0.0.1", 8880, "demo")
    assert settings.mongodb_uri is None
    assert settings.data_dir == Path(".data")


def test_a_file_named_env_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9001\nDATABASE_NAME=\n")
    assert load_settings().port == 9001
    assert load_settings().database_name == "chat_service"


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PORT", "eighty", "free port"),
        ("PORT", "70000", "free port"),
        ("ENVIRONMENT", "prod", "development, staging or production"),
        ("MONGODB_URI", "localhost:27017", "mongodb://"),
        ("MONGODB_URI", "mongodb://[", "mongodb://"),
        ("MONGODB_URI", "mongodb://user:secret%zz@host", "percent-encode"),
        ("MONGODB_URI", "mongodb://user:secret/word@host", "escaped"),
        ("MONGODB_URI", "mongodb://host/?maxPoolSize=secret", "options"),
        ("MONGODB_URI", "mongodb://host/?secret=1", "options"),
        ("MONGODB_URI", "mongodb://host/?w=0", "w=0"),
        ("MONGODB_URI", "mongodb://host/?tlsCAFile=/none/there", "/none/there"),
        ("MONGODB_URI", "mongodb+srv://host.example.com:27017", "port"),
        ("DATABASE_NAME", "a b", "no spaces"),
        ("COLLECTION_NAME", "a..b", "no dollar signs"),
        ("COLLECTION_NAME", "$sessions", "no dollar signs"),
        ("DATA_DIR", "~nobody-of-this-name/data", "folder"),
        ("LOG_LEVEL", "LOUD", "DEBUG"),
        ("MODEL_PROVIDER", "gpt", "demo"),
        ("OPENAI_BASE_URL", "localhost", "https://"),
        ("HEARTBEAT_SECONDS", "0", "seconds"),
        ("MIN_POOL_SIZE", "500", "MAX_POOL_SIZE"),
    ],
)
def test_a_wrong_value_names_the_variable_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert remedy in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "mongodb://user:p%40ss@one.example.com,two.example.com:27018/db?replicaSet=rs0&w=majority",
        "mongodb+srv://user:pass@cluster.example.com/?retryWrites=true&appName=chat",
        "mongodb://[::1]:27017",
        "mongodb://host/?maxPoolSize=3",
    ],
)
def test_an_address_is_judged_without_asking_for_it(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("MONGODB_URI", address)
    uri = load_settings().mongodb_uri
    assert uri
    assert uri.get_secret_value() == address


def test_words_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOG_LEVEL": "debug", "ENVIRONMENT": "Staging", "MODEL_PROVIDER": "DEMO"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.log_level, settings.environment, settings.model_provider) == ("DEBUG", "staging", "demo")


def test_the_data_may_lie_under_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "~/data")
    assert load_settings().data_dir == Path.home() / "data"


def test_every_wrong_value_gets_a_line_and_none_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("MONGODB_URI", "http://user:secret@host")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 2
    assert "secret" not in str(caught.value)


def test_a_real_model_needs_its_name_and_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", "openai")
    with pytest.raises(ConfigurationError, match=r"^MODEL_ID: missing"):
        load_settings()
    monkeypatch.setenv("MODEL_ID", "some-model")
    with pytest.raises(ConfigurationError, match=r"^OPENAI_API_KEY: missing"):
        load_settings()


def test_a_key_of_groq_is_enough_to_reach_groq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODEL_PROVIDER": "openai", "MODEL_ID": "some-model", "GROQ_API_KEY": "g"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.api_key, settings.base_url) == ("g", "https://api.groq.com/openai/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert load_settings().base_url == "http://127.0.0.1:1/v1"


def test_secrets_do_not_show_in_the_settings() -> None:
    settings = Settings(
        _env_file=None, mongodb_uri="mongodb://user:secret@host", openai_api_key="secret", groq_api_key="secret"
    )
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("MODEL_PROVIDER", "gpt", "ollama"),
        ("MODEL_MAX_TOKENS", "0", "4096"),
        ("ANTHROPIC_BASE_URL", "localhost", "address"),
        ("AWS_REGION", "Ireland!", "eu-west-1"),
        ("OLLAMA_HOST", "localhost:11434", "http://127.0.0.1:11434"),
        ("LOG_FORMAT", "xml", "json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", "http://127.0.0.1:4318"),
        ("EMBEDDINGS", "openai", "offline or cohere"),
        ("RETRIEVAL_MODE", "fuzzy", "hybrid"),
        ("RETRIEVAL_THRESHOLD", "2", "from 0 to 1"),
        ("QDRANT_URL", "localhost:6333", "http://127.0.0.1:6333"),
        ("QDRANT_URL", "http://:secret@host:6333", "without a key"),
        ("QDRANT_COLLECTION", "a/b", "letters"),
        ("COHERE_URL", "api.cohere.com", "Cohere"),
        ("KNOWLEDGE_URL", "docs.example.com", "https://docs.example.com"),
        ("KNOWLEDGE_PATHS", "~nobody-of-this-name/docs", "folders"),
    ],
)
def test_a_wrong_value_of_models_and_operations_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^{name}: .*{remedy}"):
        load_settings()


def test_models_to_choose_from_stand_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_CHOICES", "small, large,,")
    assert load_settings().model_choices == ("small", "large")


def test_documents_stand_at_commas_and_may_lie_under_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWLEDGE_PATHS", "docs, ~/manual.pdf,,")
    assert load_settings().knowledge_paths == (Path("docs"), Path.home() / "manual.pdf")


@pytest.mark.parametrize("name", ["QDRANT_API_KEY", "COHERE_API_KEY"])
def test_keys_of_retrieval_are_shown_masked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:6333")
    monkeypatch.setenv(name, "secret")
    lines = list(effective(load_settings()))
    assert f"{name}=********  # environment" in lines
    assert "secret" not in "\n".join(lines) + repr(load_settings())


def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = [line.removeprefix("# ").partition("=") for line in lines if re.match(r"# [A-Z_]+=", line)]
    return {name: value for name, _, value in pairs}


def test_the_example_has_every_setting_with_its_default_and_no_other() -> None:
    expected = {name.upper(): default(field) for name, field in Settings.model_fields.items()}
    assert example() == expected


def test_the_example_works_as_it_is_and_with_every_line_taken_in(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text()
    assert not re.search(r"^[A-Z_]+=", text, re.MULTILINE)
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in example().items()))
    assert load_settings() == Settings(_env_file=None)


def test_the_configuration_in_force_says_where_each_value_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("PORT=9001\nLOG_LEVEL=WARNING\nOTEL_EXPORTER_OTLP_ENDPOINT=http://u:secret@h:4318\n")
    monkeypatch.setenv("LOG_LEVEL", "error")
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://a.example,https://b.example")
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:secret@host")
    lines = list(effective(load_settings()))
    assert {line.partition("=")[0] for line in lines} == {name.upper() for name in Settings.model_fields}
    assert "PORT=9001  # .env" in lines
    assert "LOG_LEVEL=ERROR  # environment" in lines
    assert "HOST=127.0.0.1  # default" in lines
    assert "CORS_ORIGINS=https://a.example,https://b.example  # environment" in lines
    assert "MONGODB_URI=********  # environment" in lines
    assert "DATABASE_URL=  # default" in lines
    assert "RATE_LIMIT_STORAGE=memory://  # default" in lines
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://********@h:4318  # .env" in lines
    assert "secret" not in "\n".join(lines)


def test_a_command_prints_the_configuration_in_force(tmp_path: Path) -> None:
    printed = command(tmp_path, "config", PORT="9002", OPENAI_API_KEY="secret")
    assert printed.returncode == 0
    assert "PORT=9002  # environment\n" in printed.stdout
    assert "secret" not in printed.stdout + printed.stderr
    refused = command(tmp_path, "config", PORT="x")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("PORT: ")


def test_a_command_that_does_not_exist_is_told_which_do(tmp_path: Path) -> None:
    refused = command(tmp_path, "destroy")
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in ("run", "migrate", "config", "key"))


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chat_service", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

"""Settings from the environment and ``.env``. Nothing is read at import: :func:`load_settings` reads, once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pymongo.errors import PyMongoError

from mongodb_session_manager import MongoDBSessionManagerFactory

from .stores.address import Address

__all__ = ["ConfigurationError", "Settings", "load_settings"]

_GROQ_BASE_URL = "https://api.groq.com/openai/v1"


class ConfigurationError(ValueError):
    """A setting has a value that cannot work. The message names each variable and what to do about it."""


class Settings(BaseSettings):
    """What can be set, each by the variable of the same name in capitals.

    The description of a field is what a person reads when its value is wrong.
    """

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    environment: Literal["development", "staging", "production"] = Field(
        "development", description="Set it to development, staging or production."
    )
    host: str = Field("127.0.0.1", description="Set it to the address to listen on, for example 127.0.0.1.")
    port: int = Field(8880, ge=0, le=65535, description="Set it to a free port, for example 8880; 0 takes any.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Set it to DEBUG, INFO, WARNING or ERROR."
    )

    session_store: Literal["mongodb", "postgres"] = Field("mongodb", description="Set it to mongodb or postgres.")
    database_url: SecretStr | None = Field(
        None, description="Set it to postgresql://user:password@host/database, special signs percent-encoded."
    )
    mongodb_uri: SecretStr | None = Field(
        None, description="Set it to mongodb://… or mongodb+srv://…, or remove it to run an embedded server."
    )
    data_dir: Path = Field(Path(".data"), description="Set it to a folder for the embedded server's data.")
    database_name: str = Field(
        "chat_service",
        max_length=63,
        pattern=r"^[^\s/\\.\"$*<>:|?]+$",
        description="Set it to a database name: no spaces, dots or signs that are special in file names.",
    )
    collection_name: str = Field(
        "sessions",
        max_length=127,
        pattern=r"^[^.$]+(\.[^.$]+)*$",
        description="Set it to a collection name: no dollar signs, and no dots at its ends or in a row.",
    )
    max_pool_size: int = Field(100, ge=1, description="Set it to the most connections to open, for example 100.")
    min_pool_size: int = Field(10, ge=0, description="Set it to the connections to keep open, at most MAX_POOL_SIZE.")

    model_provider: Literal["demo", "openai"] = Field(
        "demo", description="Set it to demo (no account needed) or openai (any OpenAI-compatible server)."
    )
    model_id: str | None = Field(None, description="Set it to a name of a model that the provider serves.")
    model_timeout: float = Field(60.0, gt=0, description="Set it to the seconds that a model may be silent.")
    openai_base_url: str | None = Field(
        None, pattern=r"^https?://", description="Set it to the server's address with its version, as in https://…/v1."
    )
    openai_api_key: SecretStr | None = Field(None, description="Set it to the key of the OpenAI-compatible server.")
    groq_api_key: SecretStr | None = Field(None, description="Set it to a key of Groq.")
    demo_delay: float = Field(0.03, ge=0, le=10, description="Set it to the seconds between the demo model's words.")

    heartbeat_seconds: float = Field(15.0, gt=0, description="Set it to the seconds between signs of life of a stream.")
    shutdown_seconds: float = Field(2.0, ge=0, le=60, description="Set it to the seconds running turns get to end.")
    max_body_bytes: int = Field(65_536, ge=4_096, description="Set it to the largest request body in bytes.")

    @field_validator("environment", "model_provider", "session_store", mode="before")
    @classmethod
    def _in_small_letters(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _from_home(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError("there is no home folder for this ~") from None

    @field_validator("mongodb_uri")
    @classmethod
    def _is_a_mongodb_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            _check_address(value.get_secret_value())
        return value

    @field_validator("database_url")
    @classmethod
    def _is_a_postgresql_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            Address(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.session_store == "postgres" and not self.database_url:
            raise ValueError(
                "DATABASE_URL: missing. SESSION_STORE=postgres needs postgresql://user:password@host/database"
            )
        if self.min_pool_size > self.max_pool_size:
            raise ValueError("MIN_POOL_SIZE: larger than MAX_POOL_SIZE. Lower it or raise the other")
        if self.model_provider == "openai" and not self.model_id:
            raise ValueError("MODEL_ID: missing. MODEL_PROVIDER=openai needs the name of a model that the server has")
        if self.model_provider == "openai" and not self.api_key:
            raise ValueError(
                "OPENAI_API_KEY: missing. Set it or GROQ_API_KEY; a local server that checks no key takes any value"
            )
        return self

    @property
    def api_key(self) -> str | None:
        """The key for the OpenAI-compatible server; Groq's counts where no other is set."""
        key = self.openai_api_key or self.groq_api_key
        return key.get_secret_value() if key else None

    @property
    def base_url(self) -> str | None:
        """The address of the OpenAI-compatible server, ``None`` for OpenAI's own."""
        if self.openai_base_url or self.openai_api_key or not self.groq_api_key:
            return self.openai_base_url
        return _GROQ_BASE_URL


def _check_address(address: str) -> None:
    if not address.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("this is not the address of a MongoDB server")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the driver goes on without an option that it does not understand
        try:
            MongoDBSessionManagerFactory(address, connect=False, minPoolSize=0).close()
        except UserWarning:  # its text may quote a part of the address
            raise ValueError("one of the options after the question mark has a wrong name or value") from None
        except (PyMongoError, ValueError, OSError) as error:
            raise ValueError(str(error).rstrip(".")) from None


def load_settings() -> Settings:
    """Read the environment and ``.env``.

    Raises:
        ConfigurationError: A value is wrong; one line for each, naming the variable and the remedy, never the value.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError("\n".join(_complaints(error))) from None


def _complaints(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:  # from the validator of the whole, which names the variable itself
            lines.append(f"{message}.")
            continue
        name = str(problem["loc"][0])
        lines.append(f"{name.upper()}: {message}. {Settings.model_fields[name].description}")
    return lines

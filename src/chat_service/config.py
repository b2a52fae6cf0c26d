"""Settings from the environment and ``.env``. Nothing is read at import: :func:`load_settings` reads, once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict
from pymongo.errors import PyMongoError

from mongodb_session_manager import MongoDBSessionManagerFactory

from .model_settings import ModelSettings
from .rag.settings import RetrievalSettings
from .security.settings import SecuritySettings
from .stores.address import Address

__all__ = ["ConfigurationError", "Settings", "load_settings"]


class ConfigurationError(ValueError):
    """A setting has a value that cannot work. The message names each variable and what to do about it."""


class Settings(SecuritySettings, ModelSettings, RetrievalSettings):
    """What can be set, each by the variable of the same name in capitals.

    The description of a field is what a person reads when its value is wrong.
    """

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    port: int = Field(8880, ge=0, le=65535, description="Set it to a free port, for example 8880; 0 takes any.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Set it to DEBUG, INFO, WARNING or ERROR."
    )
    log_format: Literal["text", "json"] = Field("text", description="Set it to text or json.")

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

    otel_exporter_otlp_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Set it to where traces go by OTLP, as in http://127.0.0.1:4318."
    )

    heartbeat_seconds: float = Field(15.0, gt=0, description="Set it to the seconds between signs of life of a stream.")
    shutdown_seconds: float = Field(2.0, ge=0, le=60, description="Set it to the seconds running turns get to end.")
    turn_timeout: float = Field(
        30.0, gt=0, le=3600, description="Set it to the seconds after which the turn of a lost process is free again."
    )
    turn_retention_seconds: float = Field(
        3600.0, ge=60, le=604_800, description="Set it to the seconds for which the events of an answer are kept."
    )
    max_body_bytes: int = Field(65_536, ge=4_096, description="Set it to the largest request body in bytes.")

    @field_validator("environment", "log_format", "model_provider", "retrieval", "session_store", mode="before")
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
        self.check_safe()
        if self.session_store == "postgres" and not self.database_url:
            raise ValueError(
                "DATABASE_URL: missing. SESSION_STORE=postgres needs postgresql://user:password@host/database"
            )
        if self.min_pool_size > self.max_pool_size:
            raise ValueError("MIN_POOL_SIZE: larger than MAX_POOL_SIZE. Lower it or raise the other")
        self.check_model()
        self.check_retrieval()
        return self


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

"""The settings that decide what answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

__all__ = ["ModelSettings"]

_GROQ_BASE_URL = "https://api.groq.com/openai/v1"


class ModelSettings(BaseSettings):
    """A part of :class:`~chat_service.config.Settings`, whose rules for descriptions and errors it follows."""

    model_provider: Literal["demo", "openai", "anthropic", "bedrock", "ollama"] = Field(
        "demo",
        description="Set it to demo (no account needed), openai (any OpenAI-compatible server), anthropic, bedrock "
        "or ollama.",
    )
    model_id: str | None = Field(None, description="Set it to a name of a model that the provider serves.")
    model_choices: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Set it to names of models that a request may choose, with commas between them."
    )
    model_max_tokens: int | None = Field(
        None, ge=1, description="Set it to the most tokens of an answer, for example 4096."
    )
    model_timeout: float = Field(60.0, gt=0, description="Set it to the seconds that a model may be silent.")
    openai_base_url: str | None = Field(
        None, pattern=r"^https?://", description="Set it to the server's address with its version, as in https://…/v1."
    )
    openai_api_key: SecretStr | None = Field(None, description="Set it to the key of the OpenAI-compatible server.")
    groq_api_key: SecretStr | None = Field(None, description="Set it to a key of Groq.")
    anthropic_api_key: SecretStr | None = Field(None, description="Set it to a key of Anthropic.")
    anthropic_base_url: str | None = Field(
        None, pattern=r"^https?://", description="Set it to the address of a server that speaks Anthropic's protocol."
    )
    aws_region: str | None = Field(
        None, pattern=r"^[a-z0-9-]+$", description="Set it to the region of Bedrock, for example eu-west-1."
    )
    ollama_host: str = Field(
        "http://127.0.0.1:11434",
        pattern=r"^https?://",
        description="Set it to the address of the Ollama server, for example http://127.0.0.1:11434.",
    )
    retrieval: Literal["step", "tool", "off"] = Field(
        "step",
        description="Set it to step (documents are searched before the model is asked), tool (the model searches) "
        "or off.",
    )
    demo_delay: float = Field(0.03, ge=0, le=10, description="Set it to the seconds between the demo model's words.")

    @field_validator("model_choices", mode="before")
    @classmethod
    def _names_at_commas(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

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

    def check_model(self) -> None:
        """Find what the provider lacks.

        Raises:
            ValueError: Names the variable and the remedy.
        """
        if self.model_provider != "demo" and not self.model_id:
            raise ValueError(
                f"MODEL_ID: missing. MODEL_PROVIDER={self.model_provider} needs the name of a model that the server has"
            )
        if self.model_provider == "openai" and not self.api_key:
            raise ValueError(
                "OPENAI_API_KEY: missing. Set it or GROQ_API_KEY; a local server that checks no key takes any value"
            )
        if self.model_provider == "anthropic" and not self.anthropic_api_key:
            raise ValueError("ANTHROPIC_API_KEY: missing. MODEL_PROVIDER=anthropic needs a key of Anthropic")

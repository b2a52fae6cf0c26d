"""The settings that decide what is searched for answers, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from .passages import Mode

__all__ = ["RetrievalSettings"]


class RetrievalSettings(BaseSettings):
    """A part of :class:`~chat_service.config.Settings`, whose rules for descriptions and errors it follows."""

    knowledge_paths: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Set it to files and folders of documents, with commas between them."
    )
    knowledge_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="Set it to the address under which the documents are published, for example https://docs.example.com.",
    )
    qdrant_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s@]+$",
        description="Set it to the address of a Qdrant server, for example http://127.0.0.1:6333, without a key in it.",
    )
    qdrant_api_key: SecretStr | None = Field(None, description="Set it to the key of the Qdrant server.")
    qdrant_collection: str = Field(
        "knowledge",
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Set it to a name of letters, digits, dashes and underscores.",
    )
    embeddings: Literal["offline", "cohere"] = Field("offline", description="Set it to offline or cohere.")
    cohere_api_key: SecretStr | None = Field(None, description="Set it to a key of Cohere.")
    cohere_url: str | None = Field(
        None, pattern=r"^https?://", description="Set it to the address of a server that speaks Cohere's protocol."
    )
    cohere_model: str = Field(
        "embed-multilingual-v3.0", min_length=1, description="Set it to one of Cohere's models for embeddings."
    )
    cohere_rerank_model: str | None = Field(
        None, description="Set it to one of Cohere's models for re-ranking, or remove it to have none."
    )
    retrieval_mode: Mode = Field("hybrid", description="Set it to dense, sparse or hybrid.")
    retrieval_threshold: float = Field(
        0.5, ge=0, le=1, description="Set it to the least support of an answer, from 0 to 1."
    )

    @field_validator("knowledge_paths", mode="before")
    @classmethod
    def _paths_at_commas(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("embeddings", "retrieval_mode", mode="before")
    @classmethod
    def _in_small_letters_too(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("knowledge_paths")
    @classmethod
    def _all_from_home(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        try:
            return tuple(path.expanduser() for path in value)
        except RuntimeError:
            raise ValueError("there is no home folder for this ~") from None

    def check_retrieval(self) -> None:
        """Find what retrieval lacks.

        Raises:
            ValueError: Names the variable and the remedy.
        """
        if self.embeddings == "cohere" and not self.cohere_api_key:
            raise ValueError("COHERE_API_KEY: missing. EMBEDDINGS=cohere needs a key of Cohere")
        if self.cohere_rerank_model and not self.cohere_api_key:
            raise ValueError("COHERE_API_KEY: missing. COHERE_RERANK_MODEL needs a key of Cohere")
        if self.qdrant_api_key and not self.qdrant_url:
            raise ValueError("QDRANT_URL: missing. QDRANT_API_KEY is the key of a server; name it, or remove the key")

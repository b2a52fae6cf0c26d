"""What can be wrong with a knowledge base. Each message names the thing and the remedy, for whoever runs the service.

Clients never read them: a service whose knowledge base cannot be used raises
:class:`~chat_service.exceptions.KnowledgeBaseUnavailable` from one of these::

    KnowledgeBaseError
    ├── KnowledgeBaseLocked       another process has the folder of the embedded store
    ├── KnowledgeBaseMismatch     it was made by another embedder, or by another version
    ├── IngestStopped             it was told to
    ├── EmbedderError             texts cannot be embedded or re-ranked
    └── StoreUnavailable          the store cannot be reached, refuses us, or is damaged
"""

from __future__ import annotations

__all__ = [
    "EmbedderError",
    "IngestStopped",
    "KnowledgeBaseError",
    "KnowledgeBaseLocked",
    "KnowledgeBaseMismatch",
    "StoreUnavailable",
]


class KnowledgeBaseError(Exception):
    """A knowledge base cannot be opened, filled or searched."""


class KnowledgeBaseLocked(KnowledgeBaseError):
    """Another process works with the folder of the embedded store."""


class KnowledgeBaseMismatch(KnowledgeBaseError):
    """A collection was made by another embedder, with another dimension or by another version."""


class IngestStopped(KnowledgeBaseError):
    """An ingest was stopped before its end."""


class EmbedderError(KnowledgeBaseError):
    """Texts cannot be embedded or re-ranked."""


class StoreUnavailable(KnowledgeBaseError):
    """The store cannot be reached, refuses us, or is damaged."""

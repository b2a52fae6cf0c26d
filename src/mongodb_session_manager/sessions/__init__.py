"""MongoDB beside a turn: the catalogue of sessions, one module for each thing that it can do.

::

    arguments             what may be passed to it
    session_documents     the documents, read and changed by one command each
    summaries  cursors    pure: what is said of a session, where a page ends
    notes  histories  listing  lifetimes
    loan  beginning       what of a history a fork shares, and a rewind leaves
    forks  rewinds  transfers
    catalogue             all of it
"""

from .catalogue import MongoDBSessionCatalogue

__all__ = ["MongoDBSessionCatalogue"]

"""What can go wrong with an embedded server."""

__all__ = ["EmbeddedMongoDBError", "PortTakenError"]


class EmbeddedMongoDBError(RuntimeError):
    """An embedded server could not be found, started or shared; the message names the remedy."""


class PortTakenError(EmbeddedMongoDBError):
    """Another program listens on the port that the server was to have."""

"""MongoDB without installing or running a server: a real ``mongod``, owned by the process that needs it.

The program comes from ``MONGOD_BINARY``, from the Python package that the extra ``embedded`` installs, or from
``PATH``. For Linux and macOS.
"""

import sys

if sys.platform == "win32":
    raise ImportError("The embedded MongoDB runs on Linux and macOS; elsewhere run a server and set MONGODB_URI.")

from .binary import find_mongod
from .errors import EmbeddedMongoDBError
from .replica_set import EmbeddedReplicaSet
from .server import EmbeddedMongoDB

__all__ = ["EmbeddedMongoDB", "EmbeddedMongoDBError", "EmbeddedReplicaSet", "find_mongod"]

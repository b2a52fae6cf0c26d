"""Moving in: sessions from the SDK's files, from databases of the older layout, and from other databases of this one.

A session of a source becomes the lines of an export, and is imported as those are: it can be seen when all of it is
there. What is there already and equal is left; so an import that was interrupted anywhere is finished by a repeat.
"""

from .database import import_database_sessions
from .file_sessions import import_file_sessions
from .moving import ImportReport, Skipped

__all__ = ["ImportReport", "Skipped", "import_database_sessions", "import_file_sessions"]

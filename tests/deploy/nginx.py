"""nginx with the project's own configuration, on this machine: only names, ports and folders are replaced."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chat_service.running import ROOT, eventually
from tests.contract.postgresql import free_port

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
UPSTREAM = re.compile(r"server chat-(\d):8880 ")
NO_NGINX = "nginx is not installed (on Debian: apt-get install nginx-light)"


def program() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip(NO_NGINX)
    return found


def configured(folder: Path, port: int, upstream: Sequence[int]) -> list[str]:
    """Write the configuration for replicas on these ports; gives the command that runs it."""
    text = CONFIGURATION.read_text()
    text, count = UPSTREAM.subn(lambda match: f"server 127.0.0.1:{upstream[int(match[1]) - 1]} ", text)
    assert count == len(upstream) == 3
    for ours, there in [("listen 8080;", f"listen 127.0.0.1:{port};"), ("/tmp/", f"{folder}/")]:
        assert ours in text
        text = text.replace(ours, there)
    text = text.replace("/dev/stdout", str(folder / "access.log")).replace("/dev/stderr", str(folder / "error.log"))
    if os.geteuid() == 0:  # its workers would become somebody who may not write into the folder
        text = f"user root;\n{text}"
    (folder / "nginx.conf").write_text(text)
    return [program(), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


@contextmanager
def before(upstream: Sequence[int], folder: Path) -> Iterator[str]:
    """nginx before three replicas; gives its address."""
    port = free_port()
    command = configured(folder, port, upstream)
    process = subprocess.Popen([*command, "-g", "daemon off;"], stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0

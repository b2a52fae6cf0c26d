"""The project's configuration of gunicorn, as it is read."""

from __future__ import annotations

import os
import runpy
from typing import Any
from unittest import mock

from tests.chat_service.running import ROOT

CONFIGURATION = ROOT / "deploy" / "gunicorn.conf.py"
PROGRAM = ("gunicorn", "-c", str(CONFIGURATION), "chat_service.main:create_app()")


def configuration(**environment: str) -> dict[str, Any]:
    """Its values with this environment."""
    with mock.patch.dict(os.environ, {name: str(value) for name, value in environment.items()}, clear=True):
        return runpy.run_path(str(CONFIGURATION))

"""What the tests of the deployment share."""

from __future__ import annotations

import pytest

from tests.contract.postgresql import free_port


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    return free_port()

"""``python -m mongodb_session_manager.cli`` is ``mongodb-sessions``."""

from __future__ import annotations

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())

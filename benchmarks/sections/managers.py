"""What does it cost to make session managers? A service makes one for each request."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.ground import Ground
from benchmarks.table import Promise, Table


def managers(ground: Ground) -> Iterator[Table | Promise]:
    count = ground.size(1000, 100)
    with ground.commands.counting() as cost:
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            for number in range(count):
                ground.near.create_session_manager(f"manager-{number}")
            seconds.append(time.perf_counter() - start)
    yield Table(
        f"{count:,} session managers of one factory",
        ("", "commands", "seconds, median of 5"),
        [("made", str(cost.total), f"{statistics.median(seconds):.3f}")],
    )
    yield Promise("a session manager: commands", "0", str(cost.total), cost.total == 0)

"""What does a resumed turn cost with the SDK's own session managers, and what with ours?

They keep different things. ``FileSessionManager`` keeps every message in a file of its own. ``SnapshotSessionManager``
keeps the agent as it is now in one file: what has left its window is gone, unless the agent never lets go of anything
(``NullConversationManager``), and then the file holds the whole history. Neither waits for the disk, neither notices a
second writer, and both are on this machine, so that no distance can be added.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from strands.agent.conversation_manager import NullConversationManager
from strands.session import FileSessionManager, SnapshotSessionManager
from strands.storage import LocalFileStorage

from benchmarks.counting import Cost, Files
from benchmarks.ground import DELAY, Ground
from benchmarks.table import Promise, Table
from benchmarks.timing import Times, Work, interleaved
from benchmarks.turns import KB, MB, WINDOW, Prompt, copy_session, grow, grow_ours, new_agent, our_turn, picture, text
from mongodb_session_manager import MongoDBSessionManagerFactory

_COPIED = 100
"""Up to so many messages a session is measured once, and there are copies of it; a longer one goes on growing."""


class _Kept(Protocol):
    """A way to keep sessions."""

    name: str

    def counting(self) -> AbstractContextManager[Cost]: ...

    async def grow(self, session_id: str, messages: int) -> None: ...

    def copy(self, session_id: str, names: Sequence[str]) -> None: ...

    async def turn(self, session_id: str, prompt: Prompt) -> None: ...

    def every(self, messages: int) -> int:
        """Only each so many rounds, for what takes long."""
        ...


class _Ours:
    def __init__(self, ground: Ground, name: str, factory: MongoDBSessionManagerFactory) -> None:
        self.name = name
        self._commands = ground.commands
        self._sessions = ground.collection(factory)
        self._factory = factory
        self._near = ground.near

    def counting(self) -> AbstractContextManager[Cost]:
        return self._commands.counting()

    async def grow(self, session_id: str, messages: int) -> None:
        await grow_ours(self._near, session_id, messages, KB)

    def copy(self, session_id: str, names: Sequence[str]) -> None:
        copy_session(self._sessions, session_id, names)

    async def turn(self, session_id: str, prompt: Prompt) -> None:
        await our_turn(self._factory, session_id, prompt)

    def every(self, messages: int) -> int:
        return 1 if self._factory is self._near else 2


class _InFiles:
    """One of the SDK's, with its sessions below a folder of its own."""

    def __init__(self, name: str, folder: Path, files: Files, *, forgets: bool = True) -> None:
        self.name = name
        self.counting = files.counting
        self._folder = folder
        self._forgets = forgets

    def _manager(self, session_id: str) -> Any:
        raise NotImplementedError

    def _path(self, session_id: str) -> Path:
        raise NotImplementedError

    def _agent(self, manager: Any) -> Any:
        options: dict[str, Any] = {} if self._forgets else {"conversation_manager": NullConversationManager()}
        return new_agent(session_manager=manager, **options)

    async def grow(self, session_id: str, messages: int) -> None:
        manager = self._manager(session_id)
        await grow(self._agent(manager), manager, messages, KB, many=10_000)

    def copy(self, session_id: str, names: Sequence[str]) -> None:
        for name in names:
            shutil.copytree(self._path(session_id), self._path(name))

    async def turn(self, session_id: str, prompt: Prompt) -> None:
        await self._agent(self._manager(session_id)).invoke_async(prompt)

    def every(self, messages: int) -> int:
        return 1 if self._forgets else max(1, messages // 2_500)


class _FilePerMessage(_InFiles):
    def _manager(self, session_id: str) -> Any:
        return FileSessionManager(session_id, storage_dir=str(self._folder))

    def _path(self, session_id: str) -> Path:
        return self._folder / f"session_{session_id}"


class _Snapshot(_InFiles):
    def _manager(self, session_id: str) -> Any:
        return SnapshotSessionManager(session_id, storage=LocalFileStorage(str(self._folder)))

    def _path(self, session_id: str) -> Path:
        return self._folder / "session" / session_id


def others(ground: Ground) -> Iterator[Table | Promise]:
    files = Files(ground.folder)
    near, far = _Ours(ground, "ours", ground.near), _Ours(ground, f"ours, +{DELAY} ms", ground.far)
    in_files: list[_Kept] = [
        _FilePerMessage("`FileSessionManager`", ground.folder / "messages", files),
        _Snapshot("`SnapshotSessionManager`", ground.folder / "window", files),
        _Snapshot("the same, keeping all", ground.folder / "all", files, forgets=False),
    ]
    ways = [near, far, *in_files]
    cases = [
        *((history, KB) for history in (10, ground.size(1_000, 50), ground.size(50_000, 200))),
        (10, ground.size(5 * MB, MB // 10)),
    ]
    counts, rows = [], []
    for history, size in cases:
        costs, times = _case(ground, ways, history, size)
        title = (f"{history:,}", "1 KB" if size == KB else f"{size / MB:g} MB picture")
        counts += [(*title, name, *cost.a_turn()) for name, cost in costs.items() if name != far.name]
        rows += [(*title, *(str(times[way.name]) for way in ways))]
    yield Table(
        "A resumed turn with ours and with the SDK's session managers: what is asked of the store",
        ("messages before", "prompt", "session manager", "operations", "written", "read"),
        counts,
        "Written and read: bytes of commands and replies, or of files. The agents are the same, and so are their"
        f" windows, of {WINDOW} messages; only the last one keeps all.",
    )
    yield Table(
        "A resumed turn with ours and with the SDK's session managers: milliseconds",
        ("messages before", "prompt", *(way.name for way in ways)),
        rows,
        f"Files have no network, so {DELAY} ms are added to ours only. Nor do the SDK's wait for the disk, as ours"
        " does, twice a turn.",
    )


def _case(ground: Ground, ways: Sequence[_Kept], history: int, size: int) -> tuple[dict[str, Cost], dict[str, Times]]:
    rounds = ground.size(10, 2) if size > KB else min(ground.rounds, 60)
    copied = history <= _COPIED
    grown = f"kept-{history}-{size}"

    def session(way: _Kept, number: int) -> str:
        return f"{grown}-{ways.index(way)}-{number}" if copied else f"{grown}-{ways.index(way)}"

    def prompt(number: int) -> Prompt:
        return text(KB, number) if size == KB else picture(size, number)

    async def measure() -> tuple[dict[str, Cost], dict[str, Times]]:
        prompts = {number: prompt(number) for number in range(-1, rounds + 1)}
        costs = {}
        for way in ways:
            await way.grow(session(way, -1), history)
            if copied:
                await asyncio.to_thread(way.copy, session(way, -1), [session(way, at) for at in range(rounds + 1)])
            with way.counting() as costs[way.name]:
                await way.turn(session(way, -1), prompts[-1])

        def work(way: _Kept) -> Work:
            async def do(number: int) -> None:
                await way.turn(session(way, number), prompts[number])

            return Work(way.name, do, way.every(history))

        return costs, await interleaved(rounds, [work(way) for way in ways])

    return asyncio.run(measure())

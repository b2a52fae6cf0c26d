"""The faults of a storm: each strikes, waits until turns are stored in spite of it where they can be, and heals."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from tests.faults.proxy import EVERYBODY, Fault, Peer, Proxy
from tests.storm.servers import Servers, step_down, stopped

__all__ = ["KILL_APPLICATION", "KILL_PRIMARY", "OTHERS", "OTHERS_ALONE", "Strike", "kill_primary", "others", "schedule"]

Strike: TypeAlias = Callable[[Servers, random.Random], AbstractContextManager[bool]]
"""Strikes on entering; what it yields says whether turns can be stored while it lasts; heals on leaving."""


@contextmanager
def kill_primary(servers: Servers, choices: random.Random) -> Iterator[float]:
    """Yields when it was gone, on the monotonic clock. A server without a replica set starts again at once."""
    number = servers.primary()
    time.sleep(choices.uniform(0, 0.3))
    servers.kill(number)
    struck = time.monotonic()
    alone = len(servers.nodes) == 1
    if alone:
        servers.restart(number)
    yield struck
    if not alone:
        servers.restart(number)


@contextmanager
def stop_primary(servers: Servers, choices: random.Random) -> Iterator[bool]:
    with stopped(servers, servers.primary()):
        yield from _lasting(servers, choices)


@contextmanager
def stop_secondary(servers: Servers, choices: random.Random) -> Iterator[bool]:
    primary = servers.primary()
    with stopped(servers, choices.choice([n for n in range(len(servers.nodes)) if n != primary])):
        yield True
        time.sleep(choices.uniform(0.5, 2))


@contextmanager
def cut_off_primary(servers: Servers, choices: random.Random) -> Iterator[bool]:
    proxy = servers.proxies[servers.primary()]
    proxy.go_down()
    try:
        yield from _lasting(servers, choices)
    finally:
        proxy.come_up()


@contextmanager
def mute_primary(servers: Servers, choices: random.Random) -> Iterator[bool]:
    with muted(servers.proxies[servers.primary()], EVERYBODY):
        yield from _lasting(servers, choices)


@contextmanager
def part_primary(servers: Servers, choices: random.Random) -> Iterator[bool]:
    """Its clients still reach it, the other servers do not: what it takes now, it will have to take back."""
    with muted(servers.proxies[servers.primary()], frozenset({Peer.SERVER})):
        yield True


@contextmanager
def slow_network(servers: Servers, choices: random.Random) -> Iterator[bool]:
    for proxy in servers.proxies:
        proxy.delay, proxy.lag = choices.uniform(0.05, 0.3), choices.uniform(0, 0.1)
    try:
        yield True
        time.sleep(choices.uniform(0.5, 2))
    finally:
        for proxy in servers.proxies:
            proxy.delay = proxy.lag = 0.0


@contextmanager
def lost_replies(servers: Servers, choices: random.Random) -> Iterator[bool]:
    """A third of the writes are applied and not answered, a few do not even arrive."""
    lost = threading.Semaphore(0)

    def decide(name: str) -> Fault:
        fault = choices.choices([Fault.NONE, Fault.REPLY_LOST, Fault.CUT_BEFORE], [6, 3, 1])[0]
        if name not in ("update", "findAndModify") or fault is Fault.NONE:
            return Fault.NONE
        lost.release()
        return fault

    for proxy in servers.proxies:
        proxy.fault = decide
    try:
        yield True
        for _ in range(10):
            assert lost.acquire(timeout=30), "nobody writes"
    finally:
        for proxy in servers.proxies:
            proxy.fault = lambda name: Fault.NONE


@contextmanager
def step_down_in_a_write(servers: Servers, choices: random.Random) -> Iterator[bool]:
    """The primary gives way while a write is on its way to it."""
    number = servers.primary()
    arrived = threading.Event()

    def decide(name: str) -> Fault:
        if name == "update":
            arrived.set()
        return Fault.NONE

    servers.proxies[number].fault = decide
    try:
        assert arrived.wait(30), "nobody writes"
        time.sleep(choices.uniform(0, 0.005))
        step_down(servers, number)
        yield True
    finally:
        servers.proxies[number].fault = lambda name: Fault.NONE


@contextmanager
def muted(proxy: Proxy, peers: frozenset[Peer]) -> Iterator[None]:
    """Nothing passes, in either direction; what was sent arrives afterwards."""
    proxy.muted = peers
    try:
        yield
    finally:
        proxy.muted = frozenset()


def _lasting(servers: Servers, choices: random.Random) -> Iterator[bool]:
    """Others take over where there are others; else nothing can be stored while it lasts."""
    alone = len(servers.nodes) == 1
    yield not alone
    if alone:
        time.sleep(choices.uniform(0.5, 2))


KILL_PRIMARY = "the primary is killed"
KILL_APPLICATION = "an application is killed"

OTHERS_ALONE: dict[str, Strike] = {
    "the server is stopped": stop_primary,
    "the server is cut off": cut_off_primary,
    "the server is mute": mute_primary,
    "the network is slow": slow_network,
    "replies to writes are lost": lost_replies,
}

OTHERS: dict[str, Strike] = {
    "the primary is stopped": stop_primary,
    "a secondary is stopped": stop_secondary,
    "the primary is cut off": cut_off_primary,
    "the primary is mute": mute_primary,
    "the primary is parted from the others": part_primary,
    "the network is slow": slow_network,
    "replies to writes are lost": lost_replies,
    "the primary steps down in a write": step_down_in_a_write,
}


def others(servers: Servers) -> dict[str, Strike]:
    """The faults beside kills that these servers can have."""
    return OTHERS if len(servers.nodes) > 1 else OTHERS_ALONE


def schedule(seed: str, kills: int, servers: Servers, *, every: int, primary: float) -> list[str]:
    """The faults of a run in order: so many kills, and after every few of them one of the others.

    Args:
        seed: Of the order.
        kills: Of the primary or of an application.
        servers: Whose they are. Each of the others comes up before one comes up again.
        every: How many kills lie between two others.
        primary: Which part of the kills is the primary's.
    """
    choices = random.Random(f"{seed} schedule")
    chosen: list[str] = []
    deck: list[str] = []
    for number in range(1, kills + 1):
        chosen.append(KILL_PRIMARY if choices.random() < primary else KILL_APPLICATION)
        if number % every == 0:
            deck = deck or choices.sample(list(others(servers)), len(others(servers)))
            chosen.append(deck.pop())
    return chosen

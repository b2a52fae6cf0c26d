"""The sizing guide counts right, and its page shows what it counts."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from scripts.sizing import Load, size
from tests.chat_service.running import ROOT

USUAL = Load(turns_per_second=20, seconds_per_turn=8)


def test_a_small_load_is_borne_by_one_process_and_a_spare_one() -> None:
    found = size(Load(turns_per_second=0.5, seconds_per_turn=5))
    assert (found.running_turns, found.replicas, found.max_pool_size) == (3, 2, 10)


def test_long_turns_need_replicas_because_each_runs_so_many_at_once() -> None:
    assert size(replace(USUAL, seconds_per_turn=60, spare=0)).replicas == 6  # 1,200 turns of 200
    assert size(replace(USUAL, seconds_per_turn=60, spare=0, turns_per_process=400)).replicas == 3


def test_many_turns_need_replicas_because_each_has_one_core() -> None:
    short = Load(turns_per_second=100, seconds_per_turn=0.1, events_per_turn=0, spare=0)
    assert size(short).replicas == 1  # 100 × 6 ms are 0.6 of a core
    assert size(replace(short, turns_per_second=101)).replicas == 2
    assert size(replace(short, events_per_turn=400)).replicas == 13  # 100 × (6 + 68) ms, of 0.6 each


def test_a_spare_replica_makes_the_others_no_larger() -> None:
    alone, spared = size(replace(USUAL, spare=0)), size(replace(USUAL, spare=2))
    assert spared.replicas == alone.replicas + 2
    assert (spared.max_pool_size, spared.memory_mb) == (alone.max_pool_size, alone.memory_mb)


def test_a_slow_database_needs_more_connections_up_to_a_hundred() -> None:
    assert size(replace(USUAL, command_ms=100)).max_pool_size == 20  # 10 turns × 5 commands × 0.1 s × 4
    assert size(replace(USUAL, command_ms=10_000)).max_pool_size == 100


def test_the_members_see_all_pools_and_all_who_watch_them() -> None:
    found = size(USUAL)
    assert found.connections == found.replicas * (found.max_pool_size + 6)


@pytest.mark.parametrize("name", ["turns_per_second", "seconds_per_turn", "command_ms", "members", "turns_per_process"])
def test_what_makes_no_sense_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must"):
        size(replace(USUAL, **{name: 0}))


def test_the_page_shows_what_the_command_prints() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    shown = re.findall(r"```console\n\$ python (scripts/sizing\.py .*)\n((?:.+\n)+)```", page)
    assert len(shown) == 1
    for command, output in shown:
        run = subprocess.run([sys.executable, *command.split()], cwd=ROOT, capture_output=True, text=True, check=True)
        assert run.stdout == output

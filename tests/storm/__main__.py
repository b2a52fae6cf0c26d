"""Servers, applications and networks that fail, again and again, and whether anything that was acknowledged is lost.

``make faults``, or ``python -m tests.storm --kills 200 --seed 7 --seconds 1500``. It starts its own servers, prints the
seed first and the figures last, and exits with 1 if one of them is wrong.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import tempfile
import time
from pathlib import Path

from pymongo import MongoClient

from tests.storm import report
from tests.storm.faults import KILL_APPLICATION, KILL_PRIMARY, schedule
from tests.storm.outages import all_told
from tests.storm.servers import ReplicaSet, Servers, Standalone
from tests.storm.storm import Storm

_PRIMARY = 0.35
"""The part of the kills that is the primary's."""

_EVERY = 8
"""Kills between two faults of another kind."""

_ALONE = 0.2
"""Kills of the standalone server and its applications, as a part of the others; and of the time."""


def main() -> int:
    logging.getLogger().addHandler(logging.NullHandler())
    chosen = _arguments()
    print(f"seed {chosen.seed}; again: make faults ARGS='--seed {chosen.seed} --kills {chosen.kills}'", flush=True)
    with tempfile.TemporaryDirectory(prefix="storm-") as folder:
        well = [
            _storm("a replica set of three", chosen.kills, chosen.seconds * (1 - _ALONE), chosen.seed, Path(folder)),
            _storm("one server alone", int(chosen.kills * _ALONE), chosen.seconds * _ALONE, chosen.seed, Path(folder)),
            _outages(Path(folder) / "outages"),
        ]
    print("\nall is well" if all(well) else "\nNOT all is well")
    return 0 if all(well) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of the primary or an application (default 200)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of every choice (default: another each time)")
    parser.add_argument("--seconds", type=float, default=1500, help="after which no fault begins (default 1500)")
    return parser.parse_args()


def _storm(title: str, kills: int, seconds: float, seed: str, folder: Path) -> bool:
    place = folder / title.replace(" ", "-")
    servers: ReplicaSet | Standalone
    servers = ReplicaSet(place) if title.startswith("a replica set") else Standalone(place)
    with servers, Storm(servers, folder / f"{place.name}-ledger", seed) as storm:
        print(f"\n{title}; {report.machine(_version(servers))}", flush=True)
        deadline = time.monotonic() + seconds
        for number, fault in enumerate(schedule(seed, kills, servers, every=_EVERY, primary=_PRIMARY), 1):
            if time.monotonic() > deadline:
                break
            print(report.progress(number, storm.strike(fault)), flush=True)
        storm.finish()
        print("\n" + report.summary(title, storm), flush=True)
        done = sum(each.fault in (KILL_PRIMARY, KILL_APPLICATION) for each in storm.rounds)
    if done < kills:
        print(f"  only {done} of {kills} kills in {seconds:g} s")
    return not storm.found.problems and done == kills


def _version(servers: Servers) -> str:
    with MongoClient[dict[str, object]](servers.uri) as client:
        return str(client.server_info()["version"])


def _outages(folder: Path) -> bool:
    told = all_told(folder)
    print("\n" + report.outages(told))
    return not any(each.wrong or each.stuck for each in told.values())


if __name__ == "__main__":
    sys.exit(main())

"""Looks for known vulnerabilities in what is pinned. Exit code 0: none is known, 1: some are, 2: nobody answered.

Usage: python scripts/audit.py [--requirement FILE] [options of pip-audit, such as --vulnerability-service osv]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[1] / "requirements" / "development.txt"


def main() -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--requirement", type=Path, default=PINS)
    arguments, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # Nothing is installed or resolved: the file pins everything, and each pin is looked up as it is.
        program = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
        program += ["--requirement", str(arguments.requirement), "--format", "json", "--output", str(report), *others]
        run = subprocess.run(program, capture_output=True, text=True, check=False)
        found = json.loads(report.read_text()) if report.exists() and report.stat().st_size else None
    if found is None:
        print(run.stderr.strip()[-2000:], file=sys.stderr)
        print("\nNo audit took place: the service that knows of vulnerabilities gave no answer.", file=sys.stderr)
        print("This says nothing about the packages. Try again where that service can be reached,", file=sys.stderr)
        print("or ask another one: make audit ARGS='--vulnerability-service osv'.", file=sys.stderr)
        return 2
    return tell(found["dependencies"])


def tell(packages: list[dict[str, Any]]) -> int:
    skipped = [package for package in packages if "skip_reason" in package]
    for package in skipped:
        print(f"{package['name']}: not looked up: {package['skip_reason']}")
    known = [(package, flaw) for package in packages for flaw in package.get("vulns", ())]
    for package, flaw in known:
        fixed = ", ".join(flaw["fix_versions"]) or "no release yet"
        print(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}")
    print(f"{len(packages) - len(skipped)} packages looked up, {len(known)} known vulnerabilities.")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())

"""Everything about the GPU in one call: is it right, is it safe, is it fast.

``python -m benchmarks.gpu_check`` takes under eight minutes on a machine with a GPU, writes
``benchmarks/results/<machine>/gpu.json`` and prints it as a table. Checks run in the order of
`CHECKS`; what lacks a package or a tool is skipped by name, and so is what the time no longer
allows. ``--only NAME ...`` picks some, ``--device cpu`` tries the script where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import gpu_right, gpu_speed
from benchmarks.machine import now

RESULTS = Path(__file__).parent / "results"

# Seconds after which no further check begins: compute-sanitizer and peers, the longest, take up to
# two minutes each.
LIMIT = 330.0

Check = Callable[[str], Any]

CHECKS: dict[str, Check] = {
    "machine": gpu_speed.describe,
    "compile": gpu_speed.compile_seconds,
    "agrees with the CPU": gpu_right.agrees,
    "every status": gpu_right.statuses,
    "gradients": gpu_right.gradients,
    "deterministic": gpu_right.deterministic,
    "torch streams": gpu_right.streams,
    "no hidden synchronisation": gpu_right.no_synchronisation,
    "graph capture": gpu_right.captured,
    "ceilings": gpu_speed.ceilings,
    "speed": gpu_speed.speed,
    "overhead": gpu_speed.overhead,
    "occupancy": gpu_speed.occupancy,
    "qpth": gpu_speed.qpth,
    "cupiqp": gpu_speed.cupiqp,
    "memcheck": gpu_right.memcheck,
    "racecheck": gpu_right.racecheck,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, print; 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="NAME")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds (%(default)s)")
    parser.add_argument("--out", type=Path, help="file to write, instead of that of the machine")
    given = parser.parse_args(arguments)
    report = run(given.only, given.device, given.limit)
    out = given.out or RESULTS / folder(report) / "gpu.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))
    print(f"Written to {out}.")
    return int(any(check["outcome"] == "failed" for check in report["checks"].values()))


def run(names: Sequence[str], device: str, limit: float) -> dict:
    """Outcome, seconds and findings of each check."""
    start, checks = perf_counter(), {}
    for name in names:
        begin = perf_counter()
        if begin - start > limit:
            checks[name] = {"outcome": "skipped", "why": f"{limit:g} s were over"}
            continue
        checks[name] = outcome(CHECKS[name], device)
        checks[name]["seconds"] = round(perf_counter() - begin, 2)
        print(f"{name}: {checks[name]['outcome']}", flush=True)
    return {"date": now(), "device": device, "checks": checks}


def outcome(check: Check, device: str) -> dict:
    """What came of a check; whatever it raises is a failure, but a missing package is not."""
    try:
        return {"outcome": "passed", "found": check(device)}
    except (ModuleNotFoundError, gpu_right.Skipped) as missing:
        return {"outcome": "skipped", "why": str(missing)}
    except Exception as error:
        where = traceback.format_exc(limit=-2)
        return {"outcome": "failed", "why": f"{type(error).__name__}: {error}", "where": where}


def folder(report: dict) -> str:
    """Folder of results: the name of the GPU, in letters that file systems like."""
    found = report["checks"].get("machine", {}).get("found") or {}
    name = str(found.get("gpu", report["device"])).lower()
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def table(report: dict) -> str:
    """One line a check, and one a timing."""
    lines = []
    for name, check in report["checks"].items():
        lines.append(f"{name:26} {check['outcome']:8} {check.get('why', '')}".rstrip())
        rows = check.get("found")
        if isinstance(rows, list):
            lines += [
                "  " + ", ".join(f"{key} {short(value)}" for key, value in row.items())
                for row in rows
            ]
    return "\n".join(lines)


def short(value: Any) -> str:
    """A number in four digits; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())

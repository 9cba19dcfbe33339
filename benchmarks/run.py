"""Time qpcore and its peers on the same problems: ``python -m benchmarks.run --help``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import qpcore
from benchmarks.accuracy import FAILED
from benchmarks.interface import TOLERANCE, cpus
from benchmarks.machine import dgemm, machine, now
from benchmarks.measure import Crew, Effort, compare
from benchmarks.peers import PEERS
from benchmarks.remote import LONG, TURN
from benchmarks.report import write
from benchmarks.workloads import SEED, SWEEPS, WORKLOADS, Workload

RESULTS = Path(__file__).parent / "results"

SHORT = (
    "paper-100x100-1",
    "paper-100x100-64",
    "paper-10x10-1",
    "paper-10x10-128",
    "paper-32x64x8",
    "sudoku",
    "control",
)
"""Workloads of a trial, at a sixteenth of their batch, but at least eight problems."""

SLOW = ("qpax", "moreau-ipm", "cvxpylayers", "slsqp", "trust-constr")
"""Peers that a trial leaves out: they are slow, or slow to start."""

SWEPT = ("qpcore-1", "qpcore", "qpcore-mixed", "qpth", "piqp-forked", "daqp-forked")
"""Peers of the series over batch, n and m."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, then write results.json, results.md and the pictures."""
    options = parse(arguments)
    effort = Effort(rounds=3, budget=0.5) if options.quick else Effort(budget=options.budget)
    skipped = {name: reason for name in options.peers if (reason := PEERS[name].missing())}
    names = [name for name in options.peers if name not in skipped]
    for name, reason in skipped.items():
        print(f"{name} left out: {reason}")
    report: dict[str, Any] = {
        "machine": machine(),
        "started": now(),
        "seed": SEED,
        "tolerance": TOLERANCE,
        "failed above": FAILED,
        "effort": vars(effort) | {"turn": TURN, "long": LONG},
        "skipped": skipped,
        "dgemm": {str(threads): dgemm(threads) for threads in sorted({1, cpus()})},
    }
    chosen = [shortened(WORKLOADS[name], options.quick) for name in options.workloads]
    for workload in (*chosen, *(one for over in options.sweeps for one in SWEEPS[over])):
        compile_for(workload)
    with Crew(names) as crew:
        report["workloads"] = [compare(workload, crew, names, effort) for workload in chosen]
        swept = [name for name in SWEPT if name in names]
        report["sweeps"] = {
            over: [compare(one, crew, swept, effort, check=False) for one in SWEEPS[over]]
            for over in options.sweeps
        }
    report["finished"] = now()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(write(options.out))


def compile_for(workload: Workload) -> None:
    """Leave nothing to compile beside the clock, where ours would seem not to answer."""
    data, mixed = replace(workload, batch=1).data(), qpcore.Settings(precision="mixed")
    qpcore.solve(*data, settings=mixed, throw=False)
    solution = qpcore.solve(*data, throw=False)
    qpcore.vjp(solution, dx=np.ones_like(solution.x))


def shortened(workload: Workload, quick: bool) -> Workload:
    """The workload, or less of it for a trial."""
    few = max(min(8, workload.batch), workload.batch // 16)
    if not quick or few == workload.batch:
        return workload
    return replace(workload, batch=few, name=f"{workload.name}, {few} of them")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer workloads and peers, small batches: a trial"
    )
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS)
    parser.add_argument("--peers", nargs="+", choices=PEERS)
    parser.add_argument(
        "--sweeps", nargs="*", choices=SWEEPS, help="series to time; none after --quick"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=Effort.budget,
        metavar="SECONDS",
        help="after which a task that has its least timings gets no more; default: %(default)s",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: results/cpu, or results/draft if --quick"
    )
    options = parser.parse_args(arguments)
    quick = options.quick
    options.out = options.out or RESULTS / ("draft" if quick else "cpu")
    options.workloads = options.workloads or [k for k in WORKLOADS if not quick or k in SHORT]
    options.peers = options.peers or [k for k in PEERS if not (quick and k in SLOW)]
    if options.sweeps is None:
        options.sweeps = [] if quick else list(SWEEPS)
    return options


if __name__ == "__main__":
    main()

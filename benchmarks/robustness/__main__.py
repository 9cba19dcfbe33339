"""Run solvers over a collection of problems: ``python -m benchmarks.robustness --help``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress

from benchmarks.robustness.judge import RIGHT, Record, measure, outcome
from benchmarks.robustness.problems import DATA, Case, load
from benchmarks.robustness.solvers import SOLVERS, TOLERANCES
from benchmarks.robustness.worker import Worker

HEAD = (
    f"{'problem':<42} {'n':>4} {'m':>4} {'p':>4} {'truth':<17} {'outcome':<9} {'iter':>4} "
    f"{'primal':>7} {'dual':>7} {'gap':>7} {'object.':>7} {'seconds':>7} reason"
)
"""Columns of `line`; residuals and objective error are relative."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    options = parse(arguments)
    cases = load(options.data, options.sets, options.quick)
    for name in options.solvers:
        records = run(name, cases, options.settings, options.limit)
        for setting in options.settings:
            mine = [(c, r) for c, r in records if r.setting == setting]
            print(f"\n{name}, {setting}: {dict(Counter(outcome(c, r, 1e-6) for c, r in mine))}")
            print(HEAD)
            for case, record in mine:
                if (end := outcome(case, record, 1e-6)) != RIGHT:
                    print(line(case, record, end))


def line(case: Case, record: Record, end: str) -> str:
    """One failure."""
    n, m, p = len(case.qp.q), len(case.qp.h), len(case.qp.b)
    numbers = (record.primal_relative, record.dual_relative, record.gap_relative, record.objective)
    shown = " ".join("      -" if v is None else f"{v:7.0e}" for v in numbers)
    where, time = f"{case.set}/{case.name}", record.seconds
    return (
        f"{where:<42} {n:>4} {m:>4} {p:>4} {case.status:<17} {end:<9} "
        f"{record.iterations if record.iterations is not None else '-':>4} {shown} "
        f"{'-' if time is None else f'{time:.3f}':>7} {record.reason}"
    )


def run(
    name: str, cases: Sequence[Case], settings: Sequence[str], limit: float
) -> list[tuple[Case, Record]]:
    """One solver over everything."""
    worker, found = Worker(name, limit), []
    with Progress(transient=True) as progress:
        try:
            for setting in settings:
                for case in progress.track(cases, description=f"{name}, {setting}"):
                    answer, seconds = worker.solve(case, setting)
                    found.append((case, measure(case, setting, answer, seconds)))
        finally:
            worker.stop()
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--settings", nargs="+", choices=TOLERANCES, default=list(TOLERANCES))
    parser.add_argument("--limit", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--quick", action="store_true", help="the smallest problems only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

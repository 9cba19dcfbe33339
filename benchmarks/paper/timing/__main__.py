"""Time batches of QPs, forward and backward, against size and batch.

All solvers of a batch are timed in turn. Run it where nothing else runs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from itertools import product
from time import perf_counter

import numpy as np

import qpcore
from benchmarks.paper import command
from benchmarks.paper.timing import plot
from benchmarks.paper.timing.solvers import SOLVERS, Solver
from benchmarks.scipy_methods import TOLERANCE, Data, errors, random_qp

SIZES, BATCHES = (10, 50, 100, 500), (1, 64, 128)
REFERENCE = "qpcore"

ROUNDS = 10
"""Timings of each task at most, as many as in the paper."""

LEAST, BUDGET = 3, 15.0
"""Timings at least, and seconds after which a task that has them gets no more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Time all sizes and batches; write results.json, results.md and two figures."""
    parser = command.parser("benchmarks.paper.timing", __doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--threads", type=int, default=1, help="of each solver")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes = [n for n in options.sizes if n <= 50]
        options.batches = [min(batch, 16) for batch in options.batches[:2]]
    out = command.folder(options, "timing")
    missing = {s.name: reason for s in SOLVERS if (reason := s.missing())}
    solvers = [solver for solver in SOLVERS if solver.name not in missing]
    report = {
        "machine": command.machine(),
        "threads": options.threads,
        "tolerance": TOLERANCE,
        "versions": {solver.name: solver.version() for solver in solvers},
        "left out": missing,
        "batches": [],
    }
    cells = list(product(options.sizes, options.batches))
    with command.bar("sizes and batches", len(cells)) as advance:
        for n, batch in cells:
            report["batches"].append(measure(n, batch, solvers, options))
            command.save(report, out / "results.json")
            advance(f"n = {n}, batch {batch}")
    print(plot.draw(out))


def measure(
    n: int, batch: int, solvers: Sequence[type[Solver]], options: argparse.Namespace
) -> dict:
    """One size and batch: seconds and errors of every solver that can do it."""
    data = random_qp(n, n)(np.random.default_rng(options.seeds[0]), batch)
    best = qpcore.solve(*data, settings=qpcore.Settings(tol=1e-11), throw=False)
    entries = [Entry(s, data, options.threads) for s in solvers if n <= s.largest]
    rounds = 2 if options.quick else ROUNDS
    for number in range(rounds + 1):
        for entry in entries:
            entry.time(warm_up=number == 0, least=min(rounds, LEAST))
    return {
        "n": n,
        "batch": batch,
        "largest gap of the reference": float(np.abs(best.duality_gap()).max()),
        "solvers": [entry.facts(data, best.objective()) for entry in entries],
    }


class Entry:
    """A solver at work on one batch, with its seconds."""

    def __init__(self, solver: type[Solver], data: Data, threads: int) -> None:
        self.count, self.batch = min(solver.most, len(data.q)), len(data.q)
        part = Data(*(None if a is None else a[: self.count] for a in data))
        self.solver = solver(part, threads)
        self.seconds: dict[str, list[float]] = {"forward": [], "backward": []}

    def time(self, warm_up: bool, least: int) -> None:
        """Run forward and backward once, unless it has enough timings."""
        spent = self.seconds["forward"]
        if len(spent) >= least and sum(spent) > BUDGET:
            return
        start = perf_counter()
        self.x = self.solver.forward()
        middle = perf_counter()
        if self.solver.differentiable:
            self.solver.backward()
        end = perf_counter()
        if not warm_up:
            self.seconds["forward"].append(middle - start)
            if self.solver.differentiable:
                self.seconds["backward"].append(end - middle)

    def facts(self, data: Data, best: np.ndarray) -> dict:
        """What the results say; seconds are those of the whole batch."""
        facts = {"solver": self.solver.name, "problems timed": self.count}
        for task, seconds in self.seconds.items():
            scaled = [s * self.batch / self.count for s in seconds]
            facts[task] = (
                {"median": statistics.median(scaled), "seconds": scaled} if scaled else None
            )
        if self.solver.name != "linear layer":
            pairs = [errors(data.one(i), self.x[i], best[i]) for i in range(self.count)]
            primal, objective = np.abs(np.array(pairs)).max(axis=0)
            facts["primal residual"], facts["objective error"] = float(primal), float(objective)
        return facts


if __name__ == "__main__":
    main()

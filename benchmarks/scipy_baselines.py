"""qpcore beside what SciPy has for the same problems: ``python -m benchmarks.scipy_baselines``.

`scipy.optimize.minimize` with SLSQP and with trust-constr, which take any smooth function and get
exact derivatives here, and for linear programs `scipy.optimize.linprog` with HiGHS. SciPy solves
one problem per call; qpcore is timed that way too, and on the whole batch. All on one thread.
Results go to results/scipy as results.json and results.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import scipy

import qpcore
from benchmarks.machine import load, now, processor
from benchmarks.scipy_methods import (
    LINEAR_ONLY,
    METHODS,
    TOLERANCE,
    WORKLOADS,
    Data,
    Found,
    Workload,
    errors,
)

RESULTS = Path(__file__).parent / "results"
SEED = 0

FAILED = 1e-4
"""Primal residual or error of the objective, relative, above which an answer counts as failed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all methods on all workloads, print and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scipy_baselines", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="two problems of each kind: a trial")
    parser.add_argument("--out", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    out = options.out or RESULTS / ("draft/scipy" if options.quick else "scipy")
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine(), "seed": SEED, "tolerance": TOLERANCE}
    report["workloads"] = []
    for workload in WORKLOADS:
        workload = replace(workload, count=2) if options.quick else workload
        report["workloads"].append(run(workload))
    (out / "results.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    text = markdown(report)
    (out / "results.md").write_text(text, encoding="utf-8")
    print(text)


def machine() -> dict:
    """What the times were measured with."""
    return {
        "cpu": processor(),
        "time": now(),
        "load average": load(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "qpcore": qpcore.__version__,
    }


def run(workload: Workload) -> dict:
    """All methods on one workload."""
    data = workload.make(np.random.default_rng(SEED), workload.count)
    settings = qpcore.Settings(tol=1e-12, threads=1)
    reference = qpcore.solve(*data, settings=settings, throw=False)
    lines = [batch(data, reference)]
    for name, method in METHODS.items():
        if name in LINEAR_ONLY and not workload.linear:
            continue
        print(f"{workload.name}: {name}", flush=True)
        lines.append(one_by_one(name, method, data, reference))
    return {
        "name": workload.name,
        "problems": workload.make.__doc__,
        "count": workload.count,
        "largest relative gap of the reference": float(relative_gap(reference).max()),
        "methods": lines,
    }


def relative_gap(reference: qpcore.Solution) -> np.ndarray:
    """Duality gap beside the objective: how well the reference is known."""
    return np.abs(reference.duality_gap()) / (1 + np.abs(reference.objective()))


def batch(data: Data, reference: qpcore.Solution) -> dict:
    """Solve all problems in one call, five times."""
    settings = qpcore.Settings(tol=TOLERANCE, threads=1)
    seconds = []
    for _ in range(5):
        start = perf_counter()
        found = qpcore.solve(*data, settings=settings, throw=False)
        seconds.append((perf_counter() - start) / len(data.q))
    answers = [Found(*one) for one in zip(found.x, found.solved, found.iterations, strict=True)]
    return summary("qpcore, batch", data, reference, answers, seconds)


def one_by_one(
    name: str, method: Callable[[Data], Found], data: Data, reference: qpcore.Solution
) -> dict:
    """One method in a loop over the problems."""
    method(data.one(0))  # imports, compiles
    answers, seconds = [], []
    for i in range(len(data.q)):
        problem = data.one(i)
        start = perf_counter()
        answers.append(method(problem))
        seconds.append(perf_counter() - start)
    return summary(name, data, reference, answers, seconds)


def summary(
    name: str,
    data: Data,
    reference: qpcore.Solution,
    answers: Sequence[Found],
    seconds: Sequence[float],
) -> dict:
    """What the results say of a method; what it did not find at all has no residual."""
    pairs = [
        errors(data.one(i), answer.x, reference.objective()[i])
        for i, answer in enumerate(answers)
        if answer.solved
    ]
    primal, objective = np.array(pairs).T if pairs else np.full((2, 1), np.inf)
    good = (primal <= FAILED) & (np.abs(objective) <= FAILED)
    return {
        "method": name,
        "seconds": {"median": statistics.median(seconds), "max": max(seconds)},
        "iterations": {
            "median": float(np.median([a.iterations for a in answers])),
            "max": int(max(a.iterations for a in answers)),
        },
        "primal residual": float(primal.max()) if pairs else None,
        "objective error": float(np.abs(objective).max()) if pairs else None,
        "failures": len(answers) - int(good.sum()) if pairs else len(answers),
    }


EXPLANATION = """\
Milliseconds per problem, median and slowest, one thread; *batch*: all problems in one call of
`qpcore.solve`, its time divided by their number. *Primal* and *objective*: the largest over the
problems, relative; the reference is `qpcore.solve` at tolerance 1e-12, whose own duality gap bounds
its error. *Failures*: given up, or with one of the two above {failed:.0e}. SLSQP and trust-constr
get exact gradients, trust-constr the Hessian too, and 1000 iterations."""


def markdown(report: dict) -> str:
    """Turn a report into a page."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {machine[name]}" for name in ("scipy", "numpy", "python"))
    parts = [
        "# Beside scipy.optimize",
        f"{machine['cpu']}; {machine['time']}; {versions}. Load average before: "
        f"{machine['load average']}. Tolerance {report['tolerance']:.0e}, seed {report['seed']}.",
        EXPLANATION.format(failed=FAILED),
    ]
    for workload in report["workloads"]:
        gap = workload["largest relative gap of the reference"]
        parts.append(f"## {workload['name']}")
        parts.append(f"{workload['count']} problems. Gap of the reference: {gap:.0e}.")
        parts.append("\n".join(table(workload["methods"])))
    return "\n\n".join(parts) + "\n"


def table(lines: Sequence[dict]) -> list[str]:
    """Rows of one workload's table."""
    rows = [
        "| method | ms, median | ms, slowest | iterations | primal | objective | failures |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for line in lines:
        cells = [
            line["method"],
            f"{1e3 * line['seconds']['median']:.3g}",
            f"{1e3 * line['seconds']['max']:.3g}",
            f"{line['iterations']['median']:.0f}",
            *(
                "-" if line[name] is None else f"{line[name]:.0e}"
                for name in ("primal residual", "objective error")
            ),
            str(line["failures"]),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


if __name__ == "__main__":
    main()

"""Time qpcore and its peers on the same problems: ``python -m benchmarks.run --help``."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import FAILED, GRADIENTS, Residuals, gradient_errors, reference
from benchmarks.interface import TOLERANCE, Answer
from benchmarks.machine import load, machine, now
from benchmarks.peers import PEERS
from benchmarks.remote import BACKWARD, FORWARD, PeerError, Remote
from benchmarks.report import write
from benchmarks.workloads import SEED, WORKLOADS, Data, Workload

RESULTS = Path(__file__).parent / "results"

PAUSE = 0.05
"""Seconds before each timing, in which idle threads of the previous peer stop spinning."""


@dataclass(frozen=True)
class Effort:
    """How often to repeat."""

    rounds: int = 15
    """Timings of a task at most."""
    least: int = 3
    """Timings of a task at least."""
    budget: float = 4.0
    """Seconds after which a task that has its least timings gets no more."""


@dataclass
class Entry:
    """A peer at work on one workload."""

    remote: Remote
    answer: Answer | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    error: str | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, then write results.json and results.md."""
    options = parse(arguments)
    effort = Effort(rounds=3, budget=1.0) if options.quick else Effort()
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
        "effort": vars(effort),
        "skipped": skipped,
        "workloads": [],
    }
    for name in options.workloads:
        workload = WORKLOADS[name]
        if options.quick:
            workload = replace(workload, batch=max(8, workload.batch // 16))
        report["workloads"].append(run(workload, names, effort))
    report["finished"] = now()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(write(options.out))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small batches, few repeats: a trial")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: results/cpu, or results/draft if --quick"
    )
    options = parser.parse_args(arguments)
    options.out = options.out or RESULTS / ("draft" if options.quick else "cpu")
    return options


def run(workload: Workload, names: Sequence[str], effort: Effort) -> dict:
    """All peers on one workload."""
    print(f"{workload.name}, batch {workload.batch}")
    data, busy = workload.data(), load()
    with ExitStack() as stack:
        entries = []
        for name in names:
            remote = Remote(name, workload)
            stack.callback(remote.stop)
            entries.append(Entry(remote))
            warm_up(entries[-1])
        measure(entries, effort)
    found = [Residuals(data, e.answer) if e.answer else None for e in entries]
    best = reference(data, [r for r in found if r])
    lines = [
        line(workload, data, entry, residuals, best)
        for entry, residuals in zip(entries, found, strict=True)
    ]
    return {
        "name": workload.name,
        "problems": (workload.make.__doc__ or "").splitlines()[0],
        "n": workload.n,
        "m": workload.m,
        "batch": workload.batch,
        "load average before": busy,
        "load average after": load(),
        "peers": lines,
    }


def warm_up(entry: Entry) -> None:
    """Do each task once, untimed, and keep the answer."""
    tasks = [FORWARD, BACKWARD] if entry.remote.peer.differentiable else [FORWARD]
    try:
        for task in tasks:
            entry.remote.time(task)
        entry.answer = entry.remote.answer(GRADIENTS)
    except PeerError as error:
        entry.error = str(error)
    entry.seconds = {task: [] for task in tasks}
    print(f"  {entry.remote.peer.name}: {entry.error or 'ready'}", flush=True)


def measure(entries: Sequence[Entry], effort: Effort) -> None:
    """Time all tasks in turn, round by round, each round beginning with another one."""
    items = [(entry, task) for entry in entries for task in entry.seconds]
    for number in range(effort.rounds):
        first = number * len(items) // effort.rounds
        for entry, task in items[first:] + items[:first]:
            seconds = entry.seconds[task]
            enough = len(seconds) >= effort.least and sum(seconds) > effort.budget
            if entry.error or enough:
                continue
            time.sleep(PAUSE)
            try:
                seconds.append(entry.remote.time(task))
            except PeerError as error:
                entry.error = str(error)


def line(
    workload: Workload, data: Data, entry: Entry, found: Residuals | None, best: Residuals | None
) -> dict:
    """What the results say of one peer."""
    peer = entry.remote.peer
    facts: dict[str, Any] = {
        "peer": peer.name,
        "versions": peer.versions(),
        "threads": peer.threads,
        "library threads": peer.pools,
        "against": peer.against,
        "problems timed": workload.batch,
        "error": entry.error,
    }
    facts["times"] = {
        task: {"median": statistics.median(seconds), "seconds": seconds}
        for task, seconds in entry.seconds.items()
        if seconds
    }
    if found is None:
        return facts
    if best:
        found.compare(best)
    measures = {name: getattr(found, name) for name in ("primal", "dual", "gap", "objective")}
    facts["residuals"] = {name: summary(values) for name, values in measures.items()}
    failed = found.failed()
    facts["failures"] = int(failed.sum())
    facts["first failure"] = int(failed.argmax()) if failed.any() else None
    gradients = found.answer.gradients
    if best and gradients:
        errors = gradient_errors(data, best.answer, workload.cotangent(), gradients)
        facts["gradient error"] = summary(errors) | {"problems": len(errors)}
    return facts


def summary(values: np.ndarray) -> dict[str, float | None]:
    """Median and maximum of what is finite; None where nothing is."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"median": None, "max": None}
    return {"median": float(np.median(finite)), "max": float(finite.max())}


if __name__ == "__main__":
    main()

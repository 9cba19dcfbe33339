"""Peers on one workload: warmed up, timed in turn, their answers measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.accuracy import Residuals, gradient_errors, reference
from benchmarks.flops import of_solve, per_iteration
from benchmarks.interface import Answer
from benchmarks.machine import load
from benchmarks.remote import BACKWARD, FORWARD, PeerError, Remote
from benchmarks.workloads import Data, Workload

PAUSE = 0.05
"""Seconds before each timing, in which idle threads of the previous peer stop spinning."""


@dataclass(frozen=True)
class Effort:
    """How often to repeat."""

    rounds: int = 15
    """Turns of a task at most."""
    least: int = 3
    """Turns of a task at least."""
    budget: float = 4.0
    """A task that has its least turns gets no more once the calls that count, one a turn, have
    taken so many seconds."""


@dataclass
class Entry:
    """A peer at work on one workload."""

    remote: Remote
    count: int = 0
    answer: Answer | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    error: str | None = None


class Crew:
    """The peers' processes, which serve for all workloads; one that has ended is started anew."""

    def __init__(self, names: Sequence[str]) -> None:
        self.remotes: dict[str, Remote | None] = dict.fromkeys(names)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for remote in self.remotes.values():
            if remote:
                remote.stop()

    def entries(self, names: Sequence[str]) -> list[Entry]:
        """Processes of these peers, alive."""
        for name in names:
            remote = self.remotes[name]
            if remote is None or not remote.alive():
                self.remotes[name] = Remote(name)
        return [Entry(remote) for name in names if (remote := self.remotes[name])]


def compare(
    workload: Workload, crew: Crew, names: Sequence[str], effort: Effort, check: bool = True
) -> dict:
    """What the results say of one workload; without `check` its times alone."""
    print(f"{workload.name}, batch {workload.batch}", flush=True)
    data, busy, entries = workload.data(), load(), crew.entries(names)
    for entry in entries:
        warm_up(entry, workload)
    time_in_turn(entries, effort)
    found = [Residuals(data, e.answer) if e.answer and check else None for e in entries]
    best = reference(data, [r for r in found if r])
    lines = [
        line(data, workload.cotangent(), entry, residuals, best)
        for entry, residuals in zip(entries, found, strict=True)
    ]
    return {
        "name": workload.name,
        "problems": (workload.make.__doc__ or "").splitlines()[0],
        "n": workload.n,
        "m": workload.m,
        "p": workload.p,
        "batch": workload.batch,
        "flops per iteration": per_iteration(data),
        "load average before": busy,
        "load average after": load(),
        "peers": lines,
    }


def warm_up(entry: Entry, workload: Workload) -> None:
    """Do each task once, untimed, and keep the answer."""
    remote = entry.remote
    tasks = [FORWARD, BACKWARD] if remote.peer.differentiable else [FORWARD]
    entry.seconds = {task: [] for task in tasks}
    try:
        entry.count = remote.load(workload)
        remote.time(FORWARD)
        entry.answer = remote.answer()
        if BACKWARD in tasks:
            remote.time(BACKWARD)
            entry.answer = entry.answer._replace(gradients=remote.answer().gradients)
    except PeerError as error:
        entry.error = str(error)
    some = "" if entry.count in (0, workload.batch) else f", {entry.count} problems"
    print(f"  {remote.peer.name}: {entry.error or 'ready'}{some}", flush=True)


def time_in_turn(entries: Sequence[Entry], effort: Effort) -> None:
    """Time all tasks round by round, each round beginning with another one."""
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
    data: Data, dx: np.ndarray, entry: Entry, found: Residuals | None, best: Residuals | None
) -> dict:
    """What the results say of one peer."""
    peer = entry.remote.peer
    facts: dict[str, Any] = {
        "peer": peer.name,
        "versions": peer.versions(),
        "threads": peer.threads,
        "library threads": peer.pools,
        "against": peer.against,
        "problems timed": entry.count,
        "error": entry.error,
    }
    facts["times"] = {
        task: {"median": statistics.median(seconds), "seconds": seconds}
        for task, seconds in entry.seconds.items()
        if seconds
    }
    if entry.answer and entry.answer.iterations is not None and FORWARD in facts["times"]:
        facts["iterations"] = float(entry.answer.iterations.mean())
        seconds = facts["times"][FORWARD]["median"]
        facts["GFLOP/s"] = of_solve(data, entry.answer.iterations) / seconds / 1e9
    if found is not None:
        facts |= accuracy(data, dx, found, best)
    return facts


def accuracy(data: Data, dx: np.ndarray, found: Residuals, best: Residuals | None) -> dict:
    """Residuals, failures and errors of gradients."""
    if best:
        found.compare(best)
    measures = {name: getattr(found, name) for name in ("primal", "dual", "gap", "objective")}
    facts: dict[str, Any] = {
        "residuals": {name: summary(values) for name, values in measures.items()}
    }
    failed = found.failed()
    facts["failures"] = int(failed.sum())
    facts["first failure"] = int(failed.argmax()) if failed.any() else None
    gradients = found.answer.gradients
    if best and gradients:
        part = data.first(found.count)
        errors = gradient_errors(part, best.answer, dx, gradients)
        facts["gradient error"] = summary(errors) | {"problems": len(errors)}
    return facts


def summary(values: np.ndarray) -> dict[str, float | None]:
    """Median and maximum of what is finite; None where nothing is."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"median": None, "max": None}
    return {"median": float(np.median(finite)), "max": float(finite.max())}

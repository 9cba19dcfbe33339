"""A process for each solver, which is started anew after it hung or died."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.remote import Child
from benchmarks.robustness.judge import Answer
from benchmarks.robustness.problems import QP, Case
from benchmarks.robustness.solvers import TOLERANCES, Solver, warm_ups
from benchmarks.robustness.verdicts import UNDECIDED

START, PREPARE = 900, 60
"""Seconds for imports and compilation before the first problem, and for layouts before each one."""

PATIENCE = 30
"""Seconds on the clock without any CPU time, after which a process is stopped: it hangs."""

REPEATS, SHORT = 3, 0.1
"""What took less than SHORT seconds is timed REPEATS times, and the least counts."""


class StartError(RuntimeError):
    """A solver does not get to its first problem."""


class Worker:
    """A solver in a process of its own, that answers problem after problem."""

    def __init__(self, solver: Solver, limit: float, patience: float = PATIENCE) -> None:
        self.solver, self.limit, self.patience = solver, limit, patience
        self.child: Child | None = None

    def solve(self, case: Case, setting: str) -> tuple[Answer, float | None]:
        """Answer, and seconds of CPU time; None for those without an end of its own."""
        child = self.child = self.child or self._start()
        try:
            child.connection.send((case.qp, setting))
            for limit, doing in ((PREPARE, "preparing "), (self.limit, "")):
                reply = self._receive(child, limit)
                if reply is None:
                    self.stop()
                    return Answer(UNDECIDED, reason=f"{doing}stopped after {limit:g} s"), None
            answer, seconds = reply
            if seconds is not None and seconds > self.limit:
                reason = f"{answer.reason}, after {seconds:.1f} s"
                return Answer(UNDECIDED, reason=reason), None
            return answer, seconds
        except (EOFError, OSError):
            child.process.join(5)
            code = child.process.exitcode
            self.stop()
            return Answer(UNDECIDED, reason=f"its process died, exit code {code}"), None

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self.child:
            self.child.kill()
        self.child = None

    def _start(self) -> Child:
        child = Child(_serve, self.solver, pools=1)
        try:
            if self._receive(child, START):
                return child
            died = f"not ready after {START} s"
        except (EOFError, OSError):
            died = "its process died before the first problem"
        child.kill()
        raise StartError(died)

    def _receive(self, child: Child, limit: float) -> Any:
        """Wait for a reply; None after so many seconds of CPU time."""
        pid = child.process.pid
        begin = last = cpu_seconds(pid)
        since = perf_counter()
        while not child.connection.poll(min(limit, 0.25)):
            used = cpu_seconds(pid)
            if used > last:
                last, since = used, perf_counter()
            if used - begin > limit or perf_counter() - since > self.patience:
                return None
        return child.connection.recv()


def cpu_seconds(pid: int | None) -> float:
    """CPU time that a process has used; where the system does not tell, the time on the clock."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return perf_counter()
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _serve(connection: Connection, solver: Solver) -> None:
    """Answer problems until nobody asks any more."""
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some solvers print as they like
    for qp in warm_ups():
        attempt(solver, qp, "default", lambda: None)
    connection.send("ready")
    while True:
        try:
            qp, setting = connection.recv()
        except EOFError:
            return
        connection.send(attempt(solver, qp, setting, lambda: connection.send("prepared")))


def attempt(
    solver: Solver, qp: QP, setting: str, prepared: Callable[[], None]
) -> tuple[Answer, float | None]:
    """Solve, time, and turn whatever is raised into an answer."""
    tol, given = TOLERANCES[setting], qp if solver.drops_limits else qp.plain()
    try:
        ready = solver.prepare(given, tol)
    except Exception as error:
        prepared()
        return Answer(UNDECIDED, reason=shorten(repr(error))), None
    prepared()
    try:
        found, seconds = _timed(solver, ready)
        answer = solver.read(given, found)
        if seconds < SHORT:
            again = (_timed(solver, solver.prepare(given, tol))[1] for _ in range(REPEATS - 1))
            seconds = min(seconds, *again)
    except Exception as error:
        return Answer(UNDECIDED, reason=shorten(repr(error))), None
    return _expand(qp, given, answer), seconds


def _timed(solver: Solver, ready: Any) -> tuple[Any, float]:
    start = process_time()
    found = solver.solve(ready)
    return found, process_time() - start


def _expand(qp: QP, given: QP, answer: Answer) -> Answer:
    """Multipliers of all rows from those of the rows that the solver was given."""
    answer = answer._replace(reason=shorten(answer.reason))
    if answer.z is None or given is qp:
        return answer
    z = np.zeros(len(qp.h))
    z[qp.kept] = answer.z
    return answer._replace(z=z)


def shorten(text: str) -> str:
    """Its first words, in one line."""
    return " ".join(text.split())[:72]

"""A process for each solver, which is started anew when it hangs or dies."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from benchmarks.remote import POOLS, WAIT, environment, wait_policy
from benchmarks.robustness.judge import Answer
from benchmarks.robustness.problems import UNDECIDED, Case
from benchmarks.robustness.solvers import SOLVERS, TOLERANCES, Solver, warm_ups

START = 900
"""Seconds for imports and compilation before the first problem."""

PREPARE = 60
"""Seconds for bringing a problem into a solver's layout, which is not timed."""

REPEATS, SHORT = 3, 0.1
"""What took less than SHORT seconds is timed REPEATS times, and the least counts."""


class Worker:
    """A solver in a process of its own, that answers problem after problem."""

    def __init__(self, name: str, limit: float) -> None:
        self.name, self.limit = name, limit
        self.process = self.connection = None

    def solve(self, case: Case, setting: str) -> tuple[Answer, float | None]:
        """Answer and seconds; None for those if the process had to be killed, or died."""
        if self.process is None:
            self._start()
        try:
            self.connection.send((case.qp, setting))
            for seconds, what in ((PREPARE, "preparing"), (self.limit, "solving")):
                if not self.connection.poll(seconds):
                    self.stop()
                    late = f"time limit {seconds:g} s" + (
                        " in setup" if what == "preparing" else ""
                    )
                    return Answer(UNDECIDED, reason=late), None
                reply = self.connection.recv()
            return reply
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            self.stop()
            return Answer(UNDECIDED, reason=f"process died, exit code {code}"), None

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
        self.process = self.connection = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.name), daemon=True)
        with environment(dict.fromkeys(POOLS, "1") | {WAIT: wait_policy()}):
            self.process.start()
        theirs.close()
        if not self.connection.poll(START):
            self.stop()
            raise RuntimeError(f"{self.name} did not start in {START} s")
        try:
            self.connection.recv()
        except EOFError:
            self.stop()
            raise RuntimeError(f"{self.name} does not start") from None


def _serve(connection: Connection, name: str) -> None:
    """Answer problems until nobody asks any more."""
    solver = SOLVERS[name]
    for qp in warm_ups():
        _attempt(solver, qp, "default", lambda: None)
    connection.send("up")
    while True:
        try:
            qp, setting = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(solver, qp, setting, lambda: connection.send("prepared")))


def _attempt(
    solver: Solver, qp: Any, setting: str, prepared: Callable[[], None]
) -> tuple[Answer, float | None]:
    """Solve, time, and turn whatever is raised into an answer."""
    try:
        ready = solver.prepare(qp, TOLERANCES[setting])
    except Exception as error:
        prepared()
        return Answer(UNDECIDED, reason=_text(error)), None
    prepared()
    try:
        start = perf_counter()
        found = solver.solve(ready)
        seconds = perf_counter() - start
        answer = solver.answer(qp, found)
        for _ in range(REPEATS - 1 if seconds < SHORT else 0):
            ready = solver.prepare(qp, TOLERANCES[setting])
            start = perf_counter()
            solver.solve(ready)
            seconds = min(seconds, perf_counter() - start)
    except Exception as error:
        return Answer(UNDECIDED, reason=_text(error)), None
    return answer, seconds


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:100]

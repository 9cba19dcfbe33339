"""Solvers of single problems: in a loop over the batch, or in one loop on each core.

The forked processes live from `prepare` on, inherit the problems without a copy, and write answers
into shared memory: what is timed is solving, and one message to and from each process.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from benchmarks.interface import TOLERANCE, Answer, Peer
from benchmarks.workloads import Data


class Loop(Peer):
    """A solver of single problems, called for one after the other."""

    def forward(self, ready: Any) -> Answer:  # noqa: D102
        answer = self.blank(ready, np.empty)
        self.solve_range(ready, answer, 0, len(answer.x))
        return answer

    def blank(self, ready: Any, empty: Callable[[tuple[int, ...], type], np.ndarray]) -> Answer:
        """Make arrays for the answer with empty(shape, dtype)."""
        batch, m, n = ready[2].shape
        return Answer(empty((batch, n), float), empty((batch, m), float), empty((batch,), bool))

    def solve_range(self, ready: Any, answer: Answer, start: int, stop: int) -> None:
        """Solve the problems start..stop into the answer."""
        raise NotImplementedError


class Piqp(Loop):
    """piqp.DenseSolver, one object for the whole loop, which takes new data by `update`."""

    packages = ("piqp",)

    def prepare(self, data: Data) -> Data:  # noqa: D102
        columns = [np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2) for a in (data.Q, data.G)]
        return Data(columns[0], data.q, columns[1], data.h)

    def solve_range(self, ready: Data, answer: Answer, start: int, stop: int) -> None:  # noqa: D102
        import piqp

        solver = piqp.DenseSolver()
        for name in ("eps_abs", "eps_rel", "eps_duality_gap_abs", "eps_duality_gap_rel"):
            setattr(solver.settings, name, TOLERANCE)
        for i in range(start, stop):
            change = solver.update if i > start else solver.setup
            change(P=ready.Q[i], c=ready.q[i], G=ready.G[i], h_u=ready.h[i])
            answer.solved[i] = solver.solve() == piqp.PIQP_SOLVED
            answer.x[i], answer.z[i] = solver.result.x, solver.result.z_u


class Daqp(Loop):
    """daqp.solve, an active-set method in C."""

    packages = ("daqp",)

    def solve_range(self, ready: Data, answer: Answer, start: int, stop: int) -> None:  # noqa: D102
        import daqp

        for i in range(start, stop):
            answer.x[i], _, flag, info = daqp.solve(
                ready.Q[i], ready.q[i], ready.G[i], ready.h[i], primal_tol=TOLERANCE
            )
            answer.z[i], answer.solved[i] = info["lam"], flag == 1


class Quadprog(Loop):
    """quadprog.solve_qp, Goldfarb and Idnani's active-set method; it takes no tolerance."""

    packages = ("quadprog",)

    def prepare(self, data: Data) -> Data:  # noqa: D102
        return Data(data.Q, -data.q, -data.G, -data.h)

    def solve_range(self, ready: Data, answer: Answer, start: int, stop: int) -> None:  # noqa: D102
        for i in range(start, stop):
            answer.x[i], answer.z[i], answer.solved[i] = self._solve_one(*(a[i] for a in ready))

    def _solve_one(self, Q: np.ndarray, a: np.ndarray, C: np.ndarray, b: np.ndarray) -> tuple:
        """Minimise 0.5 x'Qx - a'x subject to Cx >= b."""
        import quadprog

        try:
            found = quadprog.solve_qp(Q, a, C.T, b)
        except ValueError:  # infeasible, or Q not positive definite
            return np.nan, np.nan, False
        return found[0], found[4], True


class Team(NamedTuple):
    """Processes at work on one batch."""

    answer: Answer
    connections: list[Connection]


class Forked(Peer):
    """The same solver in several processes, with equal parts of the batch."""

    def __init__(self, solver: Loop, name: str, threads: int, against: str) -> None:
        super().__init__(name, threads, against=against)
        self.solver = solver
        self.packages = solver.packages

    def missing(self) -> str | None:  # noqa: D102
        if "fork" not in multiprocessing.get_all_start_methods():
            return "this system does not fork"
        return super().missing()

    def prepare(self, data: Data) -> Team:
        """Fork the processes; they end when their pipe is closed or this process ends."""
        ready = self.solver.prepare(data)
        team = Team(self.solver.blank(ready, _shared), [])
        process = multiprocessing.get_context("fork").Process
        edges = [len(data.q) * part // self.threads for part in range(self.threads + 1)]
        for start, stop in pairwise(edges):
            ours, theirs = multiprocessing.Pipe()
            team.connections.append(ours)
            work = (self.solver, ready, team, theirs, start, stop)
            process(target=_work, args=work, daemon=True).start()
            theirs.close()
        return team

    def forward(self, ready: Team) -> Answer:  # noqa: D102
        for connection in ready.connections:
            connection.send(True)
        failures = [connection.recv() for connection in ready.connections]
        if any(failures):
            raise RuntimeError(next(filter(None, failures)))
        return ready.answer


def _work(
    solver: Loop, ready: Data, team: Team, requests: Connection, start: int, stop: int
) -> None:
    """Solve one part of the batch whenever asked, until nobody can ask any more."""
    for connection in team.connections:  # the asking ends, which came along with the fork
        connection.close()
    while True:
        try:
            requests.recv()
        except EOFError:
            return
        try:
            solver.solve_range(ready, team.answer, start, stop)
            requests.send(None)
        except Exception as error:  # its text goes to whoever asked
            requests.send(f"{type(error).__name__}: {error}")


def _shared(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Make an array that forked processes share."""
    size = math.prod(shape)
    memory = mmap.mmap(-1, max(1, size * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, size).reshape(shape)

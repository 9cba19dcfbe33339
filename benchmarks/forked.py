"""A loop over single problems on every core at once.

The forked processes live from `prepare` on, inherit the problems without a copy, and write answers
into shared memory: what is timed is solving, and one message to and from each process.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from benchmarks.interface import Answer, Peer
from benchmarks.loops import Loop
from benchmarks.workloads import Data


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
        team = Team(self.solver.blank(data, _shared), [])
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

    def read(self, data: Data, found: Answer) -> Answer:  # noqa: D102
        return self.solver.read(data, found)


def _work(
    solver: Loop, ready: Any, team: Team, requests: Connection, start: int, stop: int
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
            if stop > start:
                solver.solve_range(ready, team.answer, start, stop)
            requests.send(None)
        except Exception as error:  # its text goes to whoever asked
            requests.send(f"{type(error).__name__}: {error}")


def _shared(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Make an array that forked processes share."""
    size = math.prod(shape)
    memory = mmap.mmap(-1, max(1, size * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, size).reshape(shape)

"""One process for each peer, so that each has thread pools of its own and disturbs no other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.accuracy import GRADIENTS
from benchmarks.interface import Answer, Peer
from benchmarks.peers import PEERS
from benchmarks.workloads import Data, Workload

POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)
"""Variables that hold the number of threads of a library's pool."""

WAIT = "OMP_WAIT_POLICY"
"""Threads of OpenMP that wait for each other: passive, they sleep, unless the environment says
active. Where anything else is running, active ones spin away the time of those they wait for: that
made qpth some thirty times slower on two busy cores."""

TIMEOUT = 120
"""Seconds without a sign of life after which a peer is given up."""

PROBE, ENOUGH = 4, 4.0
"""Of a peer that may take minutes, so many problems are timed first, and then as many as it can do
in so many seconds."""

TURN, LONG = 0.05, 1.0
"""A turn's calls are timed until so many seconds are spent; a call of more than `LONG` seconds has
no untimed one before it."""

FORWARD, BACKWARD, ANSWER, LOAD, STOP = "forward", "forward + backward", "answer", "load", "stop"


class PeerError(RuntimeError):
    """A peer raised, died or did not answer."""


class Child:
    """A process of its own, asked over a pipe: serve(connection, *arguments) runs in it."""

    def __init__(self, serve: Callable[..., None], *arguments: Any, pools: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *arguments))
        with environment(dict.fromkeys(POOLS, str(pools)) | {WAIT: wait_policy()}):
            self.process.start()
        theirs.close()

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Remote(Child):
    """A peer in a process of its own, which loads one workload after the other."""

    def __init__(self, name: str) -> None:
        self.peer = PEERS[name]
        super().__init__(_serve, name, pools=self.peer.pools)

    def load(self, workload: Workload) -> int:
        """Make the problems, and return how many of them the peer is going to be timed on."""
        return self._ask((LOAD, workload))

    def time(self, task: str) -> float:
        """Do a task, FORWARD or BACKWARD, for one turn, and return the seconds of a call."""
        return self._ask((task, None))

    def answer(self) -> Answer:
        """Return the last task's answer, with the gradients of the first problems."""
        return self._ask((ANSWER, None))

    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.process.is_alive()

    def stop(self) -> None:
        """End the process."""
        if self.process.is_alive():
            with suppress(OSError):  # it may have just died
                self.connection.send((STOP, None))
            self.process.join(10)
        self.kill()

    def _ask(self, request: Any) -> Any:
        try:
            self.connection.send(request)
            if not self.connection.poll(TIMEOUT):
                self.process.kill()
                self.process.join()
                raise PeerError(f"no answer in {TIMEOUT} s")
            error, reply = self.connection.recv()
        except (EOFError, OSError) as broken:
            self.process.join(10)
            raise PeerError("its process died") from broken
        if error:
            raise PeerError(error)
        return reply


def wait_policy() -> str:
    """How idle threads of OpenMP wait in this run."""
    return os.environ.get(WAIT, "passive")


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, name: str) -> None:
    """Do what is asked until asked to stop; each reply is (error or None, result)."""
    desk = Desk(PEERS[name])
    for request in iter(connection.recv, (STOP, None)):
        connection.send(desk.reply(*request))


class Desk:
    """A peer with its problems and what it found last."""

    data: Data
    dx: Any
    ready: Any
    found: Any

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def reply(self, request: str, argument: Any) -> tuple[str | None, Any]:
        """Do what is asked; a peer may raise what it likes, the run goes on without it."""
        work = {LOAD: self._load, ANSWER: self._answer, FORWARD: self._time, BACKWARD: self._time}
        try:
            return None, work[request](argument if request == LOAD else request)
        except Exception as error:
            return f"{type(error).__name__}: {error}", None

    def _load(self, workload: Workload) -> int:
        self.ready = self.found = None  # what the last workload left, first
        data, dx, count = workload.data(), workload.cotangent(), workload.batch
        if self.peer.probed and count > PROBE:
            count = max(PROBE, min(count, int(ENOUGH / self._seconds_each(data, dx))))
        self.data, self.dx = data.first(count), dx[:count]
        self.ready = self.peer.prepare(self.data)
        return count

    def _seconds_each(self, data: Data, dx: Any) -> float:
        """Roughly, for one problem; the second time, when all is warm."""
        ready = self.peer.prepare(data.first(PROBE))
        for _ in range(2):
            start = perf_counter()
            if self.peer.differentiable:
                self.peer.forward_backward(ready, dx[:PROBE])
            else:
                self.peer.forward(ready)
            seconds = perf_counter() - start
        return seconds / PROBE

    def _time(self, task: str) -> float:
        """Median seconds of a turn's calls.

        The first one finds caches and cores as other processes left them, which a solver in use
        does not, and so is not timed; as with `timeit`, short calls are repeated.
        """
        first = self._call(task)
        if first > LONG:
            return first
        seconds = [self._call(task)]
        while sum(seconds) < TURN:
            seconds.append(self._call(task))
        return median(seconds)

    def _call(self, task: str) -> float:
        start = perf_counter()
        if task == FORWARD:
            self.found = self.peer.forward(self.ready)
        else:
            self.found = self.peer.forward_backward(self.ready, self.dx)
        return perf_counter() - start

    def _answer(self, _: str) -> Answer:
        answer, shared = self.peer.read(self.data, self.found), self.data.shared()
        if answer.gradients is None:
            return answer
        some = {k: v if k in shared else v[:GRADIENTS] for k, v in answer.gradients.items()}
        return answer._replace(gradients=some)

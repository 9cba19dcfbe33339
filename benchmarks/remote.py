"""One process for each peer, so that each has thread pools of its own and disturbs no other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from benchmarks.interface import Answer, Peer
from benchmarks.peers import PEERS
from benchmarks.workloads import Workload

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Variables that hold the number of threads of a library's pool."""

WAIT = "OMP_WAIT_POLICY"
"""Threads of OpenMP that wait for each other: passive, they sleep, unless the environment says
active. Where anything else is running, active ones spin away the time of those they wait for: that
made qpth some thirty times slower on two busy cores."""

TIMEOUT = 120
"""Seconds without a sign of life after which a peer is given up."""

FORWARD, BACKWARD, ANSWER, STOP = "forward", "forward + backward", "answer", "stop"


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
    """A peer that has loaded a workload in a process of its own and waits to be called."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.peer = PEERS[name]
        super().__init__(_serve, name, workload, pools=self.peer.pools)

    def time(self, task: str) -> float:
        """Do a task, FORWARD or BACKWARD, and return its seconds."""
        return self._ask(task)

    def answer(self, gradients: int) -> Answer:
        """Return the last task's answer, with the gradients of that many problems."""
        return self._ask((ANSWER, gradients))

    def stop(self) -> None:
        """End the process."""
        if self.process.is_alive():
            with suppress(OSError):  # it may have just died
                self.connection.send(STOP)
            self.process.join(10)
        self.kill()

    def _ask(self, request: Any) -> Any:
        try:
            self.connection.send(request)
            if not self.connection.poll(TIMEOUT):
                self.process.kill()
                raise PeerError(f"no answer in {TIMEOUT} s")
            error, reply = self.connection.recv()
        except (EOFError, OSError) as broken:
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


def _serve(connection: Connection, name: str, workload: Workload) -> None:
    """Do what is asked until asked to stop; each reply is (error or None, result)."""
    desk = Desk(PEERS[name], workload)
    for request in iter(connection.recv, STOP):
        connection.send(desk.reply(request))


class Desk:
    """A peer with its problems and its last answer."""

    def __init__(self, peer: Peer, workload: Workload) -> None:
        self.peer, self.workload = peer, workload
        self.dx = workload.cotangent()
        self.ready = self.answer = None

    def reply(self, request: Any) -> tuple[str | None, Any]:
        """Do what is asked; a peer may raise what it likes, the run goes on without it."""
        try:
            if request in (FORWARD, BACKWARD):
                return None, self._time(request)
            _, count = request
            some = self.answer.gradients and tuple(g[:count] for g in self.answer.gradients)
            return None, self.answer._replace(gradients=some)
        except Exception as error:
            return f"{type(error).__name__}: {error}", None

    def _time(self, task: str) -> float:
        if self.ready is None:
            self.ready = self.peer.prepare(self.workload.data())
        start = perf_counter()
        if task == FORWARD:
            self.answer = self.peer.forward(self.ready)
        else:
            self.answer = self.peer.forward_backward(self.ready, self.dx)
        return perf_counter() - start

"""One process for each peer, so that each has thread pools of its own and disturbs no other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from benchmarks.interface import Answer
from benchmarks.peers import PEERS
from benchmarks.workloads import Workload

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
TIMEOUT = 120
"""Seconds without a sign of life after which a peer is given up."""

FORWARD, BACKWARD, ANSWER, STOP = "forward", "forward + backward", "answer", "stop"


class PeerError(RuntimeError):
    """A peer raised, died or did not answer."""


class Remote:
    """A peer that has loaded a workload in a process of its own and waits to be called."""

    def __init__(self, name: str, workload: Workload) -> None:
        self.peer = PEERS[name]
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, name, workload))
        with environment(dict.fromkeys(POOLS, str(self.peer.pools))):
            self.process.start()
        theirs.close()

    def time(self, task: str) -> float:
        """Do a task, FORWARD or BACKWARD, and return its seconds."""
        return self._ask(task)

    def answer(self, gradients: int) -> Answer:
        """Return the last task's answer, with the gradients of that many problems."""
        return self._ask((ANSWER, gradients))

    def stop(self) -> None:
        """End the process."""
        if self.process.is_alive():
            try:
                self.connection.send(STOP)
            except OSError:
                pass  # it has just died
            self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()

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
    peer, dx = PEERS[name], workload.cotangent()
    ready = answer = None
    for request in iter(connection.recv, STOP):
        try:
            if ready is None:
                ready = peer.prepare(workload.data())
            if request == FORWARD:
                start = perf_counter()
                answer = peer.forward(ready)
                reply = perf_counter() - start
            elif request == BACKWARD:
                start = perf_counter()
                answer = peer.forward_backward(ready, dx)
                reply = perf_counter() - start
            else:
                assert answer is not None
                some = answer.gradients and tuple(g[: request[1]] for g in answer.gradients)
                reply = answer._replace(gradients=some)
        except Exception as error:  # a peer may raise what it likes; the run goes on without it
            connection.send((f"{type(error).__name__}: {error}", None))
        else:
            connection.send((None, reply))

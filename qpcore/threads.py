"""A pool of threads of our own, and how a batch is spread over it.

They hold no lock while they compute (nogil). Numba's threading layers are not used: one aborts
under concurrent callers, another kills forked children and fights torch's pool.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np

from qpcore.watch import watch

# Helpers are called for so many microseconds of work and more: to hand work to one that is awake
# takes ten, and it begins twenty later, when it has got the interpreter lock. One that is asleep
# begins after a hundred and more, on a virtual machine whose idle core has to be called back; the
# caller does not wait for it, and finds it awake the next time.
WORTH_WAKING = 150.0

# Parts of a batch have this share of that at least: each takes seven microseconds to begin.
LEAST_PART = 0.3

# So many looks does a thread take for more work before it sleeps, and a caller for the end of work:
# 0.16 microseconds each, or what others make of a core that they are offered.
LOOKS = 2000


class Helper:
    """A thread that does what it is handed, and then looks out for more before it sleeps."""

    def __init__(self, number: int) -> None:
        self.free = threading.Lock()
        self.jobs: SimpleQueue[list[Callable[[], Any]] | None] = SimpleQueue()
        self.outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
        self.handed, self.done = np.zeros((2, 1), np.int64)
        self.thread = threading.Thread(target=self.serve, name=f"qpcore-{number}", daemon=True)
        self.thread.start()

    def serve(self) -> None:
        """Do one job after the other."""
        while (job := self.jobs.get()) is not None:
            seen = int(self.handed[0])
            if work := popped(job):
                error = error_of(work)
                del work  # and with it the caller's arrays
                self.outcomes.put(error)
                self.done[0] += 1
            watch(self.handed, seen, LOOKS)

    def hand(self, work: Callable[[], Any]) -> None:
        """Give it something to do; only for who has taken `free`."""
        self.job, self.ends = [work], int(self.done[0])
        self.handed[0] += 1
        self.jobs.put(self.job)

    def take_back(self) -> BaseException | None:
        """Wait for the end of the work, and say what it raised; what was not begun will not be."""
        error = None
        if not popped(self.job):
            watch(self.done, self.ends, LOOKS)
            error = self.outcomes.get()
        self.free.release()
        return error


def popped(job: list[Callable[[], Any]]) -> Callable[[], Any] | None:
    """Take the work out of a job, unless another thread was faster."""
    try:
        return job.pop()
    except IndexError:
        return None


def error_of(work: Callable[[], Any]) -> BaseException | None:
    """What it raises, if it does."""
    try:
        work()
    except BaseException as error:
        return error
    return None


helpers: list[Helper] = []
adding = threading.Lock()


def hire(count: int) -> list[Helper]:
    """Take helpers that are not at work for another caller, at most so many."""
    with adding:
        while len(helpers) < count:
            helpers.append(Helper(len(helpers)))
    hired = []
    for helper in helpers:
        if len(hired) < count and helper.free.acquire(blocking=False):
            hired.append(helper)
    return hired


@atexit.register
def dismiss() -> None:
    """End all helpers: none is to run compiled code while that is unloaded."""
    for helper in helpers:
        helper.jobs.put(None)
        helper.handed[0] += 1
    for helper in helpers:
        helper.thread.join(1.0)
    helpers.clear()


def forget() -> None:
    """Start anew in a forked child, which has none of its parent's threads."""
    global adding
    helpers.clear()
    adding = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)


def over_chunks(
    work: Callable[[int, int], Any],
    count: int,
    threads: int,
    microseconds: float,
    large: bool = False,
) -> None:
    """Call work(start, stop) for consecutive parts of range(count), on several threads.

    The caller is one of them; helpers are called where that pays, by an estimate of what one of the
    range takes. Whoever is free takes the next part. Of `large` parts, which are costly to begin,
    there are as many as threads.
    """
    workers = min(threads, count, int(count * microseconds / WORTH_WAKING))
    if workers <= 1:
        work(0, count)
        return
    least = math.ceil(LEAST_PART * WORTH_WAKING / microseconds)
    if large:
        least = max(least, math.ceil(count / workers))
    chunks = deque(split(count, workers, least))

    def drain() -> None:
        while chunks:
            try:
                start, stop = chunks.popleft()
            except IndexError:  # another thread was faster
                return
            work(start, stop)

    hired = hire(workers - 1)
    for helper in hired:
        helper.hand(drain)
    try:
        drain()
    finally:
        chunks.clear()  # after an error, else they are gone
        outcomes = [helper.take_back() for helper in hired]
    for error in outcomes:
        if error is not None:
            raise error


def split(count: int, workers: int, least: int) -> Iterator[tuple[int, int]]:
    """Cut range(count) into parts, the next one half of what each worker has left to do.

    Large parts, since each one loads what the batch shares; the last ones, as small as `least`,
    even out problems of different difficulty.
    """
    start = 0
    while start < count:
        stop = min(count, start + max(least, (count - start) // (2 * workers)))
        yield start, stop
        start = stop

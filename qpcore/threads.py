"""Threads of our own, which help the compiled loops of whoever calls.

They hold no lock while they compute (nogil). Numba's threading layers are not used: one aborts
under concurrent callers, another kills forked children and fights torch's pool.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np

from qpcore.compilation import announced
from qpcore.crew import ASLEEP, COUNT, FIELDS, FREE, LOOKS, NEXT, STATE, hold, serve
from qpcore.rooms import aligned

# A worker is given so many microseconds of work at least. A helper that is awake begins after less
# than one; but what it writes has to come from its cache, and it keeps the core that it looks from.
WORTH_SHARING = 20.0

# With so much for each worker a helper that is asleep is woken: that takes ten, and it begins after
# a hundred and more, on a virtual machine whose idle core has to be called back. The caller does
# not wait for it, and finds it awake the next time.
WORTH_WAKING = 60.0

# There are no more helpers than this.
MOST_HELPERS = 1023

boxes = aligned(MOST_HELPERS * FIELDS, np.dtype(np.int64)).reshape(-1, FIELDS)
NOBODY = np.empty(0, np.int64)


class Helper:
    """A thread that looks for work in its box, and sleeps when there was none for long."""

    def __init__(self, number: int) -> None:
        self.number, self.box = number, boxes[number]
        self.box[STATE] = ASLEEP
        self.hired = threading.Lock()
        self.calls: SimpleQueue[bool] = SimpleQueue()
        self.thread = threading.Thread(target=self.work, name=f"qpcore-{number}", daemon=True)
        self.thread.start()

    def work(self) -> None:
        """Look for work whenever it is called."""
        while self.calls.get():
            serve(self.box, LOOKS)

    def hire(self) -> bool:
        """Take it for a caller, unless another one has it; it looks for work from then on."""
        if not self.hired.acquire(blocking=False):
            return False
        if hold(self.box):
            self.calls.put(True)
        return True

    def release(self) -> None:
        """Leave it to others; it has done what it was offered, or was offered nothing."""
        self.box[STATE] = FREE
        self.hired.release()


helpers: list[Helper] = []
adding = threading.Lock()


def hire(count: int, called: int) -> list[Helper]:
    """Take helpers that are not at work for another caller, at most `count`.

    The first `called` of all are woken; the others have to be awake.
    """
    called = min(called, MOST_HELPERS)
    if len(helpers) < called:
        with adding:
            while len(helpers) < called:
                helpers.append(Helper(len(helpers)))
    hired = []
    for place, helper in enumerate(helpers):
        if len(hired) == count:
            break
        if (place < called or helper.box[STATE] != ASLEEP) and helper.hire():
            hired.append(helper)
    return hired


@atexit.register
def dismiss() -> None:
    """End all helpers: none is to run compiled code while that is unloaded.

    Those that are awake look for work a little longer.
    """
    for helper in helpers:
        helper.calls.put(False)
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


class Parts(threading.local):
    """What a caller's loops count their parts by, in lines of the cache that are its own."""

    def __init__(self) -> None:
        self.numbers = aligned(2 * FIELDS, np.dtype(np.int64))


counters = Parts()


def one_part() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `run` ends in for a single part, by name of code that is `ready`: parts, boxes, hired.

    Whoever calls that code at once saves 0.7 microseconds, of 20 that a solve of one problem takes.
    """
    parts = counters.numbers
    parts[NEXT], parts[COUNT] = 0, 1
    return parts, boxes, NOBODY


ready: set[Any] = set()


def run(
    name: Any,
    work: Callable[[int, np.ndarray, np.ndarray, np.ndarray], None],
    count: int,
    threads: int,
    microseconds: float,
) -> None:
    """`share`, but the first time, when code of this name may have to be compiled, announce it."""
    if name in ready:
        share(work, count, threads, microseconds)
        return
    with announced(name):
        share(work, count, threads, microseconds)
    ready.add(name)


def share(
    work: Callable[[int, np.ndarray, np.ndarray, np.ndarray], None],
    count: int,
    threads: int,
    microseconds: float,
) -> None:
    """Call work(workers, parts, boxes, hired), which goes over `count` parts with its helpers.

    There are as many workers as pay, by an estimate of what a part takes; the caller is one of
    them. What follows their number is what `crew.together` and `crew.claim` ask for.
    """
    parts = counters.numbers
    parts[NEXT], parts[COUNT] = 0, count
    most = min(threads, count)
    workers = 1 if most == 1 else min(most, int(count * microseconds / WORTH_SHARING))
    if workers <= 1:
        work(1, parts, boxes, NOBODY)
        return
    called = min(most, int(count * microseconds / WORTH_WAKING))
    hired = hire(workers - 1, called - 1)
    try:
        places = np.array([helper.number for helper in hired], np.int64)
        work(1 + len(hired), parts, boxes, places)
    finally:
        for helper in hired:
            helper.release()

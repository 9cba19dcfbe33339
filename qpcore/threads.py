"""A pool of threads of our own, and how a batch is spread over it.

They hold no lock while they compute (nogil). Numba's threading layers are not used: one aborts
under concurrent callers, another kills forked children and fights torch's pool.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

# A thread is woken for this many microseconds of work and more. To wake it, let it have the
# interpreter lock and hear of its end takes 150 to 200, on a virtual machine whose idle core has to
# be called back: with n = m = 10 two threads took 1.12 of the time of one for 210 microseconds of
# work, 0.89 for 436, 0.76 for 808 and 0.64 for 1595; with n = m = 30, 0.81 for 446; with 100, 0.52
# for 29 milliseconds.
WORTH_WAKING = 200.0

# Parts of a batch have this share of that at least, as each is begun under the interpreter lock.
LEAST_PART = 0.25


@lru_cache(maxsize=1)
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a pool of another size replaces them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="qpcore")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=pool.cache_clear)


def over_chunks(
    work: Callable[[int, int], Any],
    count: int,
    threads: int,
    microseconds: float,
    large: bool = False,
) -> None:
    """Call work(start, stop) for consecutive parts of range(count), on several threads.

    The caller is one of them; a pool of the others is woken where that pays, by an estimate of what
    one of the range takes. Whoever is free takes the next part. Of `large` parts, which are costly
    to begin, there are as many as threads.
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

    helpers = [pool(threads - 1).submit(drain) for _ in range(workers - 1)]
    try:
        drain()
    finally:
        chunks.clear()  # after an error, else they are gone
        busy = [helper for helper in helpers if not helper.cancel()]  # some may not be awake yet
        wait(busy)
    for helper in busy:
        helper.result()


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

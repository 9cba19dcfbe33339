"""A pool of threads of our own, and how a batch is spread over it.

They hold no lock while they compute (nogil). Numba's threading layers are not used: one aborts
under concurrent callers, another kills forked children and fights torch's pool.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

# Chunks of packs per thread: enough to even out problems of different difficulty, few enough that
# shared matrices, loaded once a chunk, cost nothing.
CHUNKS_PER_THREAD = 2


@lru_cache(maxsize=1)
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a pool of another size replaces them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="qpcore")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=pool.cache_clear)


def over_chunks(work: Callable[[int, int], Any], count: int, threads: int) -> None:
    """Call work(start, stop) for consecutive parts of range(count), on several threads."""
    if threads == 1 or count <= 1:
        work(0, count)
        return
    chunks = min(count, CHUNKS_PER_THREAD * threads)
    edges = [count * chunk // chunks for chunk in range(chunks + 1)]
    list(pool(threads).map(work, edges[:-1], edges[1:]))

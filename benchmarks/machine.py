"""What figures were measured on, and when."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.interface import cpus
from benchmarks.remote import WAIT, Child, wait_policy


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    rows = info.read_text().splitlines() if info.exists() else []
    names = [row.split(":", 1)[1].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict:
    """What the seconds were measured on."""
    return {
        "cpu": processor(),
        "cores": cpus(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        WAIT: wait_policy(),
    }


def load() -> float | None:
    """Processes at work on this machine, averaged over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def now() -> str:
    """Date and time, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def dgemm(threads: int, n: int = 1024) -> float:
    """GFLOP/s of the product of two n x n float64 matrices by NumPy's BLAS, the best of 20.

    In a process of its own, because a BLAS reads the number of its threads when it is loaded.
    """
    child = Child(_dgemm, n, pools=threads)
    try:
        return 2 * n**3 / child.connection.recv() / 1e9
    finally:
        child.kill()


def _dgemm(connection: Connection, n: int) -> None:
    a, b = np.random.default_rng(0).standard_normal((2, n, n))
    out, best = np.empty((n, n)), np.inf
    for _ in range(20):
        start = perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, perf_counter() - start)
    connection.send(best)

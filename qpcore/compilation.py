"""Compile the drivers' functions once for all processes: disk cache, and word of a long wait."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba import njit

from qpcore.kernels.machine import FASTMATH

# A compilation that takes longer than this many seconds is announced.
PATIENCE = 2.0

_warm: set[Any] = set()

# All that `compiled` has made.
_dispatchers: list[Any] = []


def compiled(function: Callable) -> Any:
    """Compile a driver's loop for the CPU, without the interpreter lock, cached on disk.

    Numba's cache notices changes in the file of the function alone. Ours are thin loops over
    kernels, so the stamp that it compares is made of the kernels' sources too.
    """
    options: Any = {"error_model": "numpy", "fastmath": FASTMATH, "_nrt": False}
    dispatcher: Any = njit(function, cache=True, nogil=True, **options)
    dispatcher._cache._cache_file._source_stamp = source_stamp("cpu.py")
    _dispatchers.append(dispatcher)
    return dispatcher


def cache_folder() -> Path:
    """Where compiled code lies. Numba's variable NUMBA_CACHE_DIR chooses another place."""
    return Path(_dispatchers[0].stats.cache_path)


def cache_files() -> list[Path]:
    """Files of compiled code, of earlier versions of the sources too."""
    names = [f"*{dispatcher.py_func.__qualname__}-*.nb[ic]" for dispatcher in _dispatchers]
    return [path for name in names for path in cache_folder().glob(name)]


def source_stamp(*drivers: str) -> str:
    """Digest of all sources that go into compiled code: those drivers, and all kernels."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in [
        *(here / name for name in drivers),
        Path(__file__),
        *sorted((here / "kernels").glob("*.py")),
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def announced(key: Any) -> Iterator[None]:
    """Say on stderr what is going on if the first call of its kind has to compile for long."""
    if key in _warm:
        yield
        return
    timer = threading.Timer(PATIENCE, _announce, [key])
    timer.daemon = True
    timer.start()
    try:
        yield
        _warm.add(key)
    finally:
        timer.cancel()


def _announce(key: Any) -> None:
    print(
        f"qpcore: compiling its kernels for this machine ({', '.join(map(str, key))}); up to a "
        "minute, once. Later processes load them from the cache; python -m qpcore warmup compiles "
        "everything ahead.",
        file=sys.stderr,
        flush=True,
    )

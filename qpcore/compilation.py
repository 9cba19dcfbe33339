"""Compile the drivers' functions once for all processes: disk cache, and word of a long wait."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TextIO

from numba import njit, typeof
from numba import types as numba_types
from numba.core.compiler_lock import global_compiler_lock

from qpcore.kernels.linked import DRIVERS
from qpcore.kernels.machine import FASTMATH

try:
    import fcntl
except ImportError:  # Windows, where processes do not wait for each other
    fcntl: Any = None

# A compilation that takes longer than this many seconds is announced.
PATIENCE = 2.0

# A process that compiles for longer than this many seconds is taken for stopped.
LONGEST_WAIT = 600.0

# Sources of the loops, beside those of the kernels.
LOOPS = "loops.py", "gradient_loops.py", "crew.py"

_warm: set[Any] = set()

# Compiled functions by the kind of their arguments.
_entries: dict[Any, Any] = {}

# All that `compiled` has made.
_dispatchers: list[Any] = []


def compiled(function: Callable) -> Any:
    """Compile a driver's loop for the CPU, without the interpreter lock, cached on disk.

    Numba's cache notices changes in the file of the function alone. Ours are thin loops over
    kernels, so the stamp that it compares is made of the kernels' sources too.
    """
    options: Any = {"error_model": "numpy", "fastmath": FASTMATH, "_nrt": False}
    options |= {"cache": True, "nogil": True, "pipeline_class": DRIVERS}
    dispatcher: Any = njit(function, **options)
    dispatcher._cache._cache_file._source_stamp = source_stamp(*LOOPS)
    _dispatchers.append(dispatcher)
    _share_work(dispatcher)
    return dispatcher


def call(dispatcher: Any, kind: Any, *arguments: Any) -> None:
    """Call a compiled loop with arguments of a kind: of the same types, whoever calls.

    Numba takes four microseconds at every call to see that it has seen such types before, a tenth
    of a solve of one problem. Nobody looks at the arguments any more: arrays must be contiguous,
    and may be read-only if the loop only reads them.
    """
    entry = _entries.get(kind)
    if entry is None:
        signature = tuple([writable(typeof(argument)) for argument in arguments])
        entry = _entries[kind] = dispatcher.compile(signature)
    entry(*arguments)


def writable(ty: Any) -> Any:
    """The type of arrays that may be written to, for one signature whatever the caller's flags."""
    if isinstance(ty, numba_types.Array):
        return ty.copy(readonly=False)
    if isinstance(ty, numba_types.BaseTuple):
        members = tuple([writable(ty[i]) for i in range(len(ty))])  # pyright: ignore
        return numba_types.BaseTuple.from_types(members, getattr(ty, "instance_class", None))
    return ty


def _share_work(dispatcher: Any) -> None:
    """Let one process compile for a signature, while others wait and then load what it saved.

    Numba's cache has no locks. Workers that start together would all compile; and two that save
    at once may number their files alike, so that the index gives one signature's code to another.
    """
    compile_or_load, save = dispatcher.compile, dispatcher._cache.save_overload
    folder, name = Path(dispatcher.stats.cache_path), dispatcher.py_func.__qualname__

    def compile_once(signature: Any) -> Any:
        digest = hashlib.sha256(str(signature).encode()).hexdigest()[:16]
        # Numba's own lock comes first, as where one compiled function calls another.
        with global_compiler_lock, alone(folder / f"{name}-{digest}.lock"):
            return compile_or_load(signature)

    def save_alone(signature: Any, result: Any) -> None:
        with alone(folder / f"{name}.lock"):
            save(signature, result)

    dispatcher.compile, dispatcher._cache.save_overload = compile_once, save_alone


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file against other processes; without, where the system has none to give.

    The system takes it back from a process that dies. The file stays: to remove it is to risk that
    of a process that has just locked it.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a"))
            if fcntl and _locked(file):
                # Closing would not do: a child forked meanwhile has the file open too.
                stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
        yield


def _locked(file: TextIO) -> bool:
    """Wait for the lock, but not for a process that has been stopped."""
    deadline = monotonic() + LONGEST_WAIT
    while not _lock(file):
        if monotonic() > deadline:
            return False
        sleep(0.05)
    return True


def _lock(file: TextIO) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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


def announced(key: Any) -> AbstractContextManager[None]:
    """Say on stderr what is going on if the first call of its kind has to compile for long."""
    return _NOTHING if key in _warm else _announced(key)


_NOTHING = nullcontext()


@contextmanager
def _announced(key: Any) -> Iterator[None]:
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

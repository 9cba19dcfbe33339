"""solve_stream: a batch that does not fit into memory, part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from qpcore.api import solve_parsed
from qpcore.arguments import CORE_AXES
from qpcore.arrays import as_array
from qpcore.errors import ProblemError, SettingsError, SolveError
from qpcore.kernels.pack import PACK_BYTES
from qpcore.kernels.workspace import NOTES
from qpcore.problem import Problem
from qpcore.settings import Settings
from qpcore.solution import Solution

# Bytes of a problem in the table of which problem uses which argument, and of status, iterations.
ENTRIES, OUTCOME = 8 * len(CORE_AXES), 5


def solve_stream(
    Q: Any,
    q: Any,
    G: Any = None,
    h: Any = None,
    A: Any = None,
    b: Any = None,
    lb: Any = None,
    ub: Any = None,
    *,
    h_lower: Any = None,
    settings: Settings = Settings(),
    throw: bool = True,
    memory: int = 2**30,
    progress: bool = False,
) -> Iterator[tuple[slice, Solution]]:
    """Solve a batch in parts along its first axis, each within a budget of memory.

    For batches larger than memory: give `numpy.memmap` arrays, and put the answers of each part
    where they belong, such as into another memory map::

        x = np.lib.format.open_memmap("x.npy", "w+", np.float64, (batch, n))
        for part, solution in solve_stream(Q, q, G, h):
            x[part] = solution.x

    The answers are those of `solve` on the whole batch, bit for bit. `vjp` takes the solution of a
    part; gradients of what the batch shares are to be added up over the parts.

    Parameters
    ----------
    Q, q, G, h, A, b, lb, ub, h_lower : array_like
        As for `solve`, with at least one batch axis among them. Only the first one is cut. Arrays
        of the right dtype are read in place, others converted part by part.
    settings : Settings
        As for `solve`.
    throw : bool
        Raise SolveError at the first part in which a problem is not SOLVED. With False, look at
        `Solution.status`.
    memory : int
        Bytes for what grows with the batch: the arguments of a part, their conversion to a common
        dtype where they need it, answers and trace. Counted twice, because the caller still has one
        part when the next one is solved. The workspace, one for each thread whatever the batch,
        comes on top. A part has at least one entry of the first axis.
    progress : bool
        Show a bar with tqdm (``pip install qpcore[progress]``).

    Yields
    ------
    part : slice
        Which entries of the first batch axis.
    solution : Solution
        Theirs.

    Raises
    ------
    ProblemError
        At once: shapes or dtypes do not make a QP, or no argument has a batch axis.
    SettingsError
        At once: `memory` is no positive number.
    SolveError
        With `throw`, at a part; the error carries its Solution.
    ImportError
        At once: `progress` without tqdm.
    """
    given = {"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": b, "lb": lb, "ub": ub, "h_lower": h_lower}
    arguments = {name: _as_given(name, v) for name, v in given.items() if v is not None}
    whole = Problem.parse(**{name: _empty_like(v) for name, v in arguments.items()})
    if not whole.batch_shape:
        raise ProblemError("solve_stream got a single problem; expected a batch axis. Use solve.")
    if not memory > 0:
        raise SettingsError(f"memory is {memory!r}; expected a number of bytes > 0.")
    cut = {name for name, v in arguments.items() if _is_cut(name, v, whole)}
    count = whole.batch_shape[0]
    step = max(1, int(memory / _bytes_each(arguments, cut, whole, settings)))
    if step > PACK_BYTES:  # whole packs, of which none is filled up with repetitions
        step -= step % PACK_BYTES
    stream = _parts(arguments, cut, range(0, count, step), settings, throw)
    return _with_bar(stream, count) if progress else stream


def _parts(
    arguments: dict[str, Any], cut: set[str], starts: range, settings: Settings, throw: bool
) -> Iterator[tuple[slice, Solution]]:
    """Solve one part after the other, when asked."""
    for start in starts:
        part = slice(start, min(start + starts.step, starts.stop))
        chosen = {name: v[part] if name in cut else v for name, v in arguments.items()}
        try:
            solution = solve_parsed(Problem.parse(**chosen), settings)
            if throw:
                solution.raise_for_status()
        except SolveError as error:
            text = f"In part {part.start}:{part.stop} of the stream: {error}"
            raise SolveError(text, error.solution) from None
        yield part, solution


def _with_bar(
    stream: Iterator[tuple[slice, Solution]], count: int
) -> Iterator[tuple[slice, Solution]]:
    """The same with a bar, which moves on when the caller comes back for the next part."""
    from tqdm.auto import tqdm  # pyright: ignore[reportMissingModuleSource]

    def shown() -> Iterator[tuple[slice, Solution]]:
        with tqdm(total=count, unit=" problems") as bar:
            for part, solution in stream:
                yield part, solution
                bar.update(part.stop - part.start)

    return shown()


def _as_given(name: str, value: Any) -> Any:
    """An array, unread; Python numbers as they are, because they adapt to the dtype of arrays."""
    return value if isinstance(value, (int, float)) else as_array(name, value)


def _empty_like(value: Any) -> Any:
    """Something of the same shape and dtype, of which there is one number in memory."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    return np.broadcast_to(np.zeros((), value.dtype), value.shape)


def _is_cut(name: str, value: Any, whole: Problem) -> bool:
    """Whether an argument has the first batch axis in full."""
    lead = np.shape(value)[: max(0, np.ndim(value) - len(CORE_AXES[name]))]
    return len(lead) == len(whole.batch_shape) and lead[0] == whole.batch_shape[0]


def _bytes_each(
    arguments: dict[str, Any], cut: set[str], whole: Problem, settings: Settings
) -> float:
    """Memory of one entry of the first batch axis, in two parts at a time."""
    size, count = whole.dtype.itemsize, max(1, whole.batch_shape[0])
    arrays = [arguments[name] for name in cut]
    read = sum(array.nbytes for array in arrays)
    converted = sum(array.size * size for array in arrays if array.dtype != whole.dtype)
    traced = NOTES * (settings.max_iterations + 1) if settings.trace else 0
    answer = size * (2 * whole.n + whole.m + whole.p + traced) + ENTRIES + OUTCOME
    return 2 * ((read + converted) / count + answer * math.prod(whole.batch_shape[1:]))

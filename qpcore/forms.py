"""What a batch of QPs is like: all that can be said of it before one looks at a number.

To find all that out takes fifty microseconds, where a whole solve of one small problem takes
twenty. Whoever solves one mostly solves more of its form: so forms are kept, and what others make
of a form they keep by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from qpcore.arguments import CORE_AXES, NO_LIMIT, Shapes, layout_of, lead_of
from qpcore.arrays import once


@dataclass(frozen=True, eq=False)
class Form:
    """What the arguments of a problem are like: one object for all that are alike.

    Copies of a problem find it anew.
    """

    shapes: Shapes
    """Of the compact arguments that are there, by name in the order of `CORE_AXES`."""
    batch_shape: tuple[int, ...]
    batch_size: int
    n: int
    m: int
    p: int
    dtype: np.dtype

    @once
    def absent(self) -> Mapping[str, np.ndarray]:
        """What stands for arguments that are not there: one row that says the same."""
        return MappingProxyType(absent_of(self.n, self.m, self.p, self.dtype))

    def __contains__(self, name: str) -> bool:
        """Whether an argument is there."""
        return name in self.shapes

    def flat(self, name: str) -> tuple[int, ...]:
        """The shape of an argument with its batch axes flattened to one, in C order."""
        shape = self.shapes[name]
        lead = lead_of(name, shape)
        return math.prod(lead), *shape[len(lead) :]

    def index(self, name: str) -> np.ndarray:
        """Row of the flat argument that each problem uses: int64, (batch_size,), in C order."""
        lead = lead_of(name, self.shapes[name]) if name in self else ()
        rows = np.arange(math.prod(lead), dtype=np.int64).reshape(lead)
        return np.broadcast_to(rows, self.batch_shape).reshape(self.batch_size)


@lru_cache(maxsize=256)
def form_of(
    dtype: np.dtype, batch_shape: tuple[int, ...], *named: tuple[str, tuple[int, ...]]
) -> Form:
    """The form of compact arguments, by name in the order of `CORE_AXES`."""
    shapes = dict(named)
    m, p = (shapes[name][-2] if name in shapes else 0 for name in "GA")
    size, n = math.prod(batch_shape), shapes["q"][-1]
    return Form(MappingProxyType(shapes), batch_shape, size, n, m, p, dtype)


@lru_cache(maxsize=256)
def form_as_given(
    dtype: np.dtype, names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]
) -> Form | None:
    """The form of contiguous arguments that are compact as they came; None where some are not.

    Raises
    ------
    ProblemError
        The shapes make no QP.
    """
    named = tuple(zip(names, shapes, strict=True))
    cores, batch_shape = layout_of(*named)
    if any(name not in cores or len(shape) < len(cores[name]) for name, shape in named):
        return None  # no rows, or a single number for all of them
    return form_of(dtype, batch_shape, *named)


def absent_of(n: int, m: int, p: int, dtype: np.dtype) -> dict[str, np.ndarray]:
    """What may stand for arguments: no rows, or limits at infinity."""
    sizes, arrays = {"n": n, "m": m, "p": p}, {}
    for name, axes in CORE_AXES.items():
        if name in NO_LIMIT or sizes[axes[0]] == 0:  # others are never absent
            core = [sizes[axis] for axis in axes]
            arrays[name] = np.full((1, *core), NO_LIMIT.get(name, 0.0), dtype)
            arrays[name].flags.writeable = False
    return arrays

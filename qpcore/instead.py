"""What a GPU does instead of some of the kernels' own small functions. Needs numba-cuda.

They do the same on a CPU by other instructions, which the simulator runs too; `phases.py` puts
these in their place.
"""

# Numba's CUDA target has no true types.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

from numba import cuda, types
from numba.extending import overload

from qpcore.kernels.machine import where

# ---- pivots --------------------------------------------------------------------------------------


def per_root(number):
    """1/sqrt(number) to the last digit or two."""
    return 1 / number**0.5


@overload(per_root, target="cuda")
def _per_root(number):
    if number == types.float32:
        return lambda number: cuda.libdevice.rsqrtf(number)
    return lambda number: cuda.libdevice.rsqrt(number)


def inverse_root(pivot, floor):
    """What `factor.inverse_root` is; there half of a pivot's time is a root and a division."""
    return per_root(where(pivot < floor, floor, pivot))

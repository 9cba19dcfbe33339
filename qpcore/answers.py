"""Where drivers write what they find, in arrays that go out to the caller."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qpcore.forms import Form
from qpcore.handover import sizes_in
from qpcore.kernels.transfer import Result
from qpcore.rooms import empty_result

# For a single problem of so many variables and rows a blank result is kept, and copied: to copy an
# array takes less time than to say what it is like and to fill it.
MOST_COPIED = 1000


def room_for(form: Form, traced: int) -> Result:
    """Room for the answers of a form, all of which are still to be found; of so many iterates."""
    if traced or form.batch_size != 1 or form.n + form.m + form.p > MOST_COPIED:
        return empty_result(form.batch_size, sizes_in(form), form.dtype, traced)
    *parts, trace = blank_of(form)
    return Result._make([*[part.copy() for part in parts], trace])


@lru_cache(maxsize=64)
def blank_of(form: Form) -> Result:
    """Room that nobody writes to."""
    return empty_result(1, sizes_in(form), form.dtype, 0)


def in_batch(result: Result, batch: tuple[int, ...]) -> list[np.ndarray]:
    """x, z, y, z_box, status and iterations in the batch's own shape."""
    if len(batch) == 1:
        return list(result[:6])
    if not batch:
        return [array[0, ...] for array in result[:6]]
    return [array.reshape((*batch, *array.shape[1:])) for array in result[:6]]

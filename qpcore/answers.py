"""Where drivers write what they find, and what of it goes out.

To make the arrays of a single problem, in two shapes, takes three microseconds, and to copy them
one. So what they are written to is lent to one solve after the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from qpcore.forms import Form
from qpcore.handover import sizes_in
from qpcore.kernels.certificate import RUNNING
from qpcore.kernels.transfer import Result
from qpcore.rooms import empty_result

# Rooms are lent for problems of so many variables and rows: what stays in memory is 2 MB at most,
# beside as many rooms of a form as threads solve at a time.
MOST_LENT = 1000


class Room(NamedTuple):
    """What a solve writes to."""

    result: Result
    """Arrays (batch, ·), as the drivers take them."""
    answer: list[np.ndarray]
    """x, z, y, z_box, status and iterations in the batch's own shape: the same memory."""
    free: list[Room] | None = None
    """Rooms of its kind that nobody uses; None if it is not lent."""

    def take(self) -> list[np.ndarray]:
        """What was found; a room that was lent goes back."""
        if self.free is None:
            return self.answer
        answer = [part.copy() for part in self.answer]
        self.free.append(self)
        return answer


def room_for(form: Form, traced: int) -> Room:
    """Room for the answers of a form, all of which are still to be found."""
    if traced or form.batch_size != 1 or form.n + form.m + form.p > MOST_LENT:
        return new_room(form, traced)
    free = free_rooms(form)
    try:
        room = free.pop()
    except IndexError:
        return new_room(form, traced, free)
    room.result.status.fill(RUNNING)
    room.result.iterations.fill(0)
    return room


@lru_cache(maxsize=64)
def free_rooms(form: Form) -> list[Room]:
    """Those of a form. A list changes in one step, so that threads need no lock."""
    return []


def new_room(form: Form, traced: int, free: list[Room] | None = None) -> Room:
    """The same, made anew."""
    result = empty_result(form.batch_size, sizes_in(form), form.dtype, traced)
    return Room(result, in_batch(result, form.batch_shape), free)


def in_batch(result: Result, batch: tuple[int, ...]) -> list[np.ndarray]:
    """x, z, y, z_box, status and iterations in the batch's own shape."""
    if len(batch) == 1:
        return list(result[:6])
    return [array.reshape((*batch, *array.shape[1:])) for array in result[:6]]

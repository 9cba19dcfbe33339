"""What the kernels run on: who works on a problem (a team), what an element is (float or pack).

A kernel is written for one problem of plain numbers. On a GPU that is what it works on, with a team
of threads that share the problem. On a CPU it works alone, and is handed arrays of packs: with the
operators of packs and the functions below it then solves a pack of problems. The plain Python
bodies serve floats everywhere; the overloads serve packs.
"""

from collections import namedtuple

import numpy as np
from numba import njit, types
from numba.core import config
from numba.extending import overload

from qpcore.kernels.linked import KERNELS
from qpcore.kernels.pack import MaskType, PackType, any_of, broadcast, flip, select, select_mask

# No inline="always" in this file: Numba's inliner deletes stores to arrays of which it does not see
# that they are views of an argument. LLVM inlines these functions without such losses.

# `contract` alone lets LLVM fuse multiply and add; full fastmath would break NaN handling.
FASTMATH = {"contract"}


def kernel(function=None, *, inline=False, makes_arrays=False, fastmath=FASTMATH):
    """Compile a kernel function for the CPU and CUDA; leave it plain Python under the simulator.

    Reference counts of arrays, a locked instruction each, once took nearly half of the time of
    small problems. Kernels do without them; only functions that return an array, by itself and not
    in a tuple, must have them.
    """
    if function is None:
        return lambda f: kernel(f, inline=inline, makes_arrays=makes_arrays, fastmath=fastmath)
    if config.ENABLE_CUDASIM:
        return function
    return njit(
        function,
        error_model="numpy",
        fastmath=fastmath,
        forceinline=inline,
        no_cpython_wrapper=True,  # kernels are called by drivers only, and packs can't be boxed
        no_cfunc_wrapper=True,
        pipeline_class=KERNELS,
        _nrt=makes_arrays,
    )


# ---- the team ------------------------------------------------------------------------------------

# A team is a namedtuple whose fields lane and width say who I am among how many: loops over shared
# data step by width from lane. What its members do together depends on its class.
Operations = namedtuple("Operations", "barrier sum max")
OPERATIONS = {}


def barrier(team):
    """Wait until every lane of the team has arrived."""
    OPERATIONS[type(team)].barrier(team)


def team_sum(value, team):
    """The sum of the lanes' values, which every lane gets."""
    return OPERATIONS[type(team)].sum(value, team)


def team_max(value, team):
    """The largest of the lanes' values, which every lane gets."""
    return OPERATIONS[type(team)].max(value, team)


@overload(barrier)
def _barrier(team):
    operation = OPERATIONS[team.instance_class].barrier
    return lambda team: operation(team)


@overload(team_sum)
def _team_sum(value, team):
    operation = OPERATIONS[team.instance_class].sum
    return lambda value, team: operation(value, team)


@overload(team_max)
def _team_max(value, team):
    operation = OPERATIONS[team.instance_class].max
    return lambda value, team: operation(value, team)


# The team on a CPU: one thread does all the work on its pack.
Solo = namedtuple("Solo", "lane width")


@kernel(inline=True)
def nothing(team):
    """Nobody to wait for."""


@kernel(inline=True)
def itself(value, team):
    """The sum and the maximum over a team of one."""
    return value


OPERATIONS[Solo] = Operations(nothing, itself, itself)


@kernel(inline=True)
def team_of_one():
    """Make the team on a CPU."""
    return Solo(0, 1)


# ---- like, where, negate, any_lane ---------------------------------------------------------------


def like(number, element):
    """A number in the type of an element: all lanes of a pack; float32 stays float32."""
    return type(element)(number)


@overload(like)
def _like(number, element):
    if isinstance(element, PackType):
        return lambda number, element: broadcast(number, element)
    cast = np.float32 if element == types.float32 else np.float64
    return lambda number, element: cast(number)


def where(condition, a, b):
    """`a` in the lanes where the condition holds, `b` in the others."""
    return a if condition else b


@overload(where)
def _where(condition, a, b):
    if isinstance(condition, MaskType):
        if isinstance(a, MaskType):
            return lambda condition, a, b: select_mask(condition, a, b)
        return lambda condition, a, b: select(condition, a, b)
    return lambda condition, a, b: a if condition else b


def negate(condition):
    """The lanes where the condition does not hold."""
    return not condition


@overload(negate)
def _negate(condition):
    if isinstance(condition, MaskType):
        return lambda condition: flip(condition)
    return lambda condition: not condition


def any_lane(condition):
    """Whether the condition holds in any lane."""
    return condition


@overload(any_lane)
def _any_lane(condition):
    if isinstance(condition, MaskType):
        return lambda condition: any_of(condition)
    return lambda condition: condition


@kernel(inline=True)
def larger(a, b):
    """The larger number; NaN in b is passed over."""
    return where(b > a, b, a)

"""The `range` of the GPU's kernels is Python's, for what kernels count; here on the CPU."""

import numpy as np
import pytest
from numba import njit

from qpcore.counting import counting

TEAM = 3


def to(out, size):
    k = 0
    for i in range(size):
        out[k] = i
        k += 1
    return k


def between(out, size):
    k = 0
    for i in range(size // 2, size):
        out[k] = i
        k += 1
    return k


def by_steps(out, size):
    k = 0
    for i in range(1, size, TEAM):
        out[k] = i
        k += 1
    return k


def down(out, size):
    k = 0
    for i in range(size - 1, -1, -1):
        out[k] = i
        k += 1
    return k


def within(out, size):
    k = 0
    for i in range(size):
        if i == 2:
            continue
        for j in range(i + 1, size):
            if j == i + 3:
                break
            out[k] = j
            k += 1
    return k


def by_width(out, size, lane, width):
    k = 0
    for i in range(lane, size, width):
        out[k] = i
        k += 1
    return k


@pytest.fixture(scope="module")
def compiled():
    """Each loop, compiled once."""
    return {f: njit(counting(f)) for f in (to, between, by_steps, down, within, by_width)}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("loop", [to, between, by_steps, down, within])
def test_it_counts_as_python_does(compiled, loop, size):
    assert_same(compiled[loop], loop, size)


@pytest.mark.parametrize("width", [1, 2, 5, 32])
@pytest.mark.parametrize("lane", [0, 3, 31])
def test_lanes_share_what_there_is(compiled, lane, width):
    for number in (np.int64, np.int32):  # as threads and sizes come
        assert_same(compiled[by_width], by_width, 12, number(lane), number(width))


def assert_same(ours, pythons, *given):
    found, expected = np.full(99, -1), np.full(99, -1)
    assert ours(found, *given) == pythons(expected, *given)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("function", "divides"), [(counting(by_width), False), (by_width, True)])
def test_it_does_not_divide(function, divides):
    """Numba's own range does, as the second case shows."""
    compiled = njit(function)
    compiled(np.zeros(9), 5, 1, 2)
    (code,) = compiled.inspect_llvm().values()
    assert (" sdiv " in code) is divides


def test_a_function_keeps_its_name_and_what_it_knows():
    assert counting(by_steps).__name__ == "by_steps"
    assert counting(by_steps).__globals__["TEAM"] == TEAM
    assert counting(down)(np.zeros(9), 4) == 4  # plain Python counts too

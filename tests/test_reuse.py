"""Memory of large arrays is used again, of none that somebody holds, and not without limit."""

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from problems import paper

from qpcore import reuse, solve, vjp

SHAPE, F64 = (2048, 16, 16), np.dtype(np.float64)  # four megabytes


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture(autouse=True)
def nothing_kept():
    reuse.forget()
    yield
    reuse.forget()


def test_what_nobody_holds_is_used_again():
    first = reuse.empty(SHAPE, F64)
    place = address(first)
    assert first.shape == SHAPE
    assert first.dtype == F64
    assert first.flags.c_contiguous
    assert first.flags.writeable
    del first
    assert address(reuse.empty(SHAPE, F64)) == place


@pytest.mark.parametrize("shape", [(1024, 16, 32), (2048, 2, 128), (1 << 19,)])
def test_the_size_counts_and_not_the_shape(shape):
    place = address(reuse.empty(SHAPE, F64))
    found = reuse.empty(shape, F64)
    assert address(found) == place
    assert found.shape == shape


@pytest.mark.parametrize("look", [lambda a: a[3:5, ::2], np.transpose, np.ravel, np.from_dlpack])
def test_a_view_keeps_the_memory(look):
    array = reuse.empty(SHAPE, F64)
    array[:] = 7.0
    seen = look(array)
    del array
    gc.collect()
    other = reuse.empty(SHAPE, F64)
    other[:] = 0.0
    assert (seen == 7.0).all()


def test_small_arrays_are_ordinary():
    assert reuse.empty((10, 10), F64).base is None


def test_other_sizes_go_first_when_there_is_too_much(monkeypatch):
    monkeypatch.setattr(reuse, "MOST", 3 * reuse.LEAST)
    small, large = (reuse.LEAST // 8,), (reuse.LEAST // 4,)
    arrays = [reuse.empty(small, F64) for _ in range(5)]
    arrays.clear()
    assert {size: len(kept) for size, kept in reuse._kept.items()} == {reuse.LEAST: 3}
    del arrays
    reuse.empty(large, F64)
    assert {size: len(kept) for size, kept in reuse._kept.items()} == {2 * reuse.LEAST: 1}


def test_threads_never_share_memory():
    def fill(number):
        for _ in range(50):
            array = reuse.empty((1 << 17,), F64)
            array[:] = number
            assert (array == number).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(8)))


def test_gradients_of_the_step_before_stay_what_they_were():
    solution = solve(**paper(16, 16, 3, 0, (1024,)))
    first = vjp(solution, dx=np.ones_like(solution.x))
    assert first.Q is not None
    copy, places = first.Q.copy(), {address(first.Q), address(first.G)}
    second = vjp(solution, dx=2 * np.ones_like(solution.x))
    assert np.array_equal(first.Q, copy)
    assert not places & {address(second.Q), address(second.G)}
    del first
    third = vjp(solution, dx=np.ones_like(solution.x))
    assert np.array_equal(third.Q, copy)
    assert address(third.Q) in places


def test_a_process_that_ends_has_nothing_to_say():
    code = (
        "import sys, numpy, qpcore.reuse as reuse\n"
        "numpy.held = reuse.empty((1 << 18,), numpy.dtype(float))\n"
        "sys.held = reuse.empty((1 << 18,), numpy.dtype(float))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""

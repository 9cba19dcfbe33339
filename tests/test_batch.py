"""A problem's answer and gradient are the same bits, whatever its batch, position or thread."""

from functools import cache

import numpy as np
import pytest
from cases import FAILURES, OPEN, beside, failing
from checks import assert_same_bits, fields
from problems import Form, known

from qpcore import Settings, solve, vjp

COUNT = 37  # four packs of eight float64 and five more
FORMS = [OPEN, Form(1, box="both"), Form(12, 30), Form(6, 14, rank=0)]
LARGE = Form(70, 80, 5, box="lower")
DTYPES = [np.float64, np.float32]
SIZES = [1, 7, 8, 9, 37]


@cache
def batch(form, dtype=np.float64, shared=(), count=COUNT):
    """Data of a batch in the given dtype."""
    data = known(form, 50, (count,), shared).data
    return {name: value.astype(dtype) for name, value in data.items()}


def part(data, where, shared=()):
    """Some problems of a batch; shared arguments stay as they are."""
    return {name: v if name in shared else v[where] for name, v in data.items()}


def cotangents(solution, where=slice(None)):
    """Cotangents for all outputs of the problems of a batch, picked out of a fixed sequence."""
    outputs = {"dx": solution.x, "dz": solution.z, "dy": solution.y, "dz_box": solution.z_box}
    picked = {}
    for name, output in outputs.items():
        rng = np.random.default_rng(len(name))
        drawn = rng.standard_normal((2 * COUNT, *output.shape[1:]))
        picked[name] = drawn[np.arange(2 * COUNT)[where]].astype(output.dtype)
    return picked


@cache
def reference(form, dtype=np.float64, shared=(), count=COUNT):
    """Answers and gradients of the whole batch, in one thread."""
    data = batch(form, dtype, shared, count)
    return solve_and_pull_back(data, slice(count), Settings(threads=1))


def solve_and_pull_back(data, where, settings=None):
    """Solve and differentiate; ``where`` says which of the fixed cotangents belong to the data."""
    solution = solve(**data, settings=settings or Settings(), throw=False)
    return solution, vjp(solution, **cotangents(solution, where))


def assert_same_problems(results, expected, ours, theirs, shared=()):
    """Compare problems ``ours`` of a pair (solution, gradients) with ``theirs`` of another."""
    for found, reference in zip(results, expected, strict=True):
        found, reference = fields(found), fields(reference)
        kept = [name for name in found if name not in shared]
        assert found.keys() == reference.keys()
        assert_same_bits(
            {name: found[name][ours] for name in kept},
            {name: reference[name][theirs] for name in kept},
        )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_size_of_the_batch(form, dtype, size):
    first = slice(size)
    results = solve_and_pull_back(part(batch(form, dtype), first), first)
    assert_same_problems(results, reference(form, dtype), first, first)


@pytest.mark.parametrize("shift", [1, 5, 8, 20])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_position_in_the_batch(form, dtype, shift):
    order = np.roll(np.arange(COUNT), shift)
    results = solve_and_pull_back(part(batch(form, dtype), order), order)
    assert_same_problems(results, reference(form, dtype), np.arange(COUNT), order)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_alone_without_batch_axes(form, dtype):
    for index in (0, 9, 36):
        solution = solve(**part(batch(form, dtype), index), throw=False)
        expected, _ = reference(form, dtype)
        assert_same_bits(fields(solution), fields(expected, index))
        picked = cotangents(expected, slice(index, index + 1))
        gradients = vjp(solution, **{name: value[0] for name, value in picked.items()})
        assert_same_bits(fields(gradients), fields(reference(form, dtype)[1], index))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_number_of_threads(form, dtype, threads):
    everything = slice(COUNT)
    results = solve_and_pull_back(batch(form, dtype), everything, Settings(threads=threads))
    assert_same_problems(results, reference(form, dtype), everything, everything)


@pytest.mark.parametrize("status", [*FAILURES, "all of them"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_bad_neighbours(status, dtype, threads):
    kinds = [status] * 4 if status in FAILURES else FAILURES
    spoiled = [failing(kind, OPEN, 60 + i) for i, kind in enumerate(kinds)]
    spoiled = [{k: v.astype(dtype) for k, v in bad.items()} for bad in spoiled]
    data, ours = beside(batch(OPEN, dtype), spoiled, [0, 3, 20, 37])
    where = np.full(len(data["q"]), COUNT)  # the bad ones get a cotangent too
    where[ours] = np.arange(COUNT)
    results = solve_and_pull_back(data, where, Settings(threads=threads))
    assert (np.delete(results[0].status, ours) != 0).all()
    assert_same_problems(results, reference(OPEN, dtype), ours, np.arange(COUNT))


@pytest.mark.parametrize("dtype", DTYPES)
def test_uncoupled_variables_beside_coupled_ones(dtype):
    data = dict(batch(Form(6, 0, 3, box="both"), dtype))
    Q = data["Q"] * np.eye(6, dtype=dtype)
    diagonal = solve_and_pull_back(data | {"Q": Q}, slice(COUNT))
    assert (diagonal[0].status == 0).any()
    mixed = solve_and_pull_back(
        data | {"Q": np.where(np.arange(COUNT)[:, None, None] % 2 == 0, Q, data["Q"])}, slice(COUNT)
    )
    assert_same_problems(mixed, diagonal, np.arange(0, COUNT, 2), np.arange(0, COUNT, 2))


HUGE = {
    "NaN everywhere": np.nan,
    "infinity everywhere": np.inf,
    "near overflow": 1e300,
    "near underflow": 1e-300,
}


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE)
def test_neighbours_of_extreme_size(value):
    data = batch(OPEN)
    spoiled = [{name: np.full(v.shape[1:], value) for name, v in data.items()}] * 3
    data, ours = beside(data, spoiled, [0, 12, 37])
    where = np.full(len(data["q"]), COUNT)
    where[ours] = np.arange(COUNT)
    results = solve_and_pull_back(data, where)
    assert_same_problems(results, reference(OPEN), ours, np.arange(COUNT))


@pytest.mark.parametrize("shared", [("Q",), ("G", "A"), ("Q", "G", "A")], ids="".join)
@pytest.mark.parametrize("size", SIZES)
def test_shared_arguments(size, shared):
    data, first = batch(OPEN, np.float64, shared), slice(size)
    results = solve_and_pull_back(part(data, first, shared), first)
    expected = reference(OPEN, np.float64, shared)
    assert_same_problems(results, expected, first, first, shared)


@pytest.mark.parametrize("size", [2, 7, 9])
def test_problems_larger_than_the_cache(size):
    some = slice(9 - size, 9)
    results = solve_and_pull_back(part(batch(LARGE, count=9), some), some)
    assert_same_problems(results, reference(LARGE, count=9), slice(None), some)


def test_a_problem_of_some_size_has_a_way_of_its_own_when_it_is_alone():
    (found, pulled), (expected, gradients) = (
        solve_and_pull_back(part(batch(LARGE, count=9), slice(size)), slice(size))
        for size in (1, 2)
    )
    np.testing.assert_allclose(found.x[0], expected.x[0], atol=1e-7)
    np.testing.assert_allclose(pulled.q[0], gradients.q[0], atol=1e-7)
    assert found.dual_residual() <= 1e-8 * (1 + found.dual_scale())
    assert not np.array_equal(found.x[0], expected.x[0])


def test_a_small_problem_has_its_bits_when_it_is_alone():
    data = batch(Form(15, 20, 5), count=9)
    first = {name: value[0] for name, value in data.items()}
    expected = solve(**data)
    assert_same_bits(fields(solve(**first)), fields(expected, 0))


def test_twice_gives_the_same_bits():
    everything = slice(COUNT)
    again = solve_and_pull_back(batch(OPEN), everything)
    assert_same_problems(again, reference(OPEN), everything, everything)


@pytest.mark.parametrize("limit", [1, 3, 6])
def test_problems_stopped_half_way(limit):
    settings = Settings(max_iterations=limit)
    whole = solve(**batch(OPEN), settings=settings, throw=False)
    for some in (slice(0, 1), slice(5, 14)):
        solution = solve(**part(batch(OPEN), some), settings=settings, throw=False)
        assert_same_bits(fields(solution), fields(whole, some))

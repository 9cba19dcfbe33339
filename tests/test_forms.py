"""Forms: what is kept of problems that are alike is theirs all, and nothing of any of them."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checks import assert_same_bits, fields
from problems import Form, known

from qpcore import Problem, solve, vjp
from qpcore.arguments import CORE_AXES
from qpcore.handover import data_of
from qpcore.problem import as_given

FORMS = {
    "rows": Form(10, 10),
    "bounds": Form(5, 6, 2, box="both"),
    "equations": Form(6, p=3),
}
BATCHES = [(), (1,), (4,), (2, 3)]


def data(name="rows", batch=(), seed=0):
    return known(FORMS[name], seed, batch).data


def given(arguments):
    return {name: arguments.get(name) for name in CORE_AXES}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", FORMS)
def test_a_problem_kept_as_given_is_that_of_any_other_way(name, batch):
    arguments = data(name, batch)
    quick = as_given(given(arguments))
    assert quick is not None
    slow = Problem._converted(given(arguments))
    assert quick.form is slow.form
    assert (quick.batch_shape, quick.given_shapes) == (slow.batch_shape, slow.given_shapes)
    for argument in CORE_AXES:
        one, other = getattr(quick, argument), getattr(slow, argument)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            assert np.shares_memory(one, other)
            assert not one.flags.writeable
            assert not other.flags.writeable


@pytest.mark.parametrize(
    "change",
    [
        {"q": np.ones(10, np.float32)},
        {"q": [1.0] * 10},
        {"q": np.ones(20)[::2]},
        {"q": np.broadcast_to(1.0, 10)},
        {"Q": np.asfortranarray(np.triu(np.ones((10, 10))))},
        {"h": 1.0},
        {"h": np.array(1.0)},
        {"A": np.zeros((0, 10)), "b": np.zeros(0)},
        {"Q": None},
    ],
    ids=lambda change: " ".join(f"{k} {type(v).__name__}" for k, v in change.items()),
)
def test_what_has_to_be_changed_is_not_kept_as_given(change):
    assert as_given(given(data() | change)) is None


def test_forms_are_told_apart():
    arguments = data()
    single = {name: value.astype(np.float32) for name, value in arguments.items()}
    lower = arguments | {"h_lower": arguments["h"] - 100}
    expanded = arguments | {"q": np.broadcast_to(arguments["q"], (3, 10))}
    others = [data(batch=(1,)), data(batch=(4,)), data("equations"), single, lower, expanded]
    problems = [Problem.parse(**some) for some in (arguments, *others)]
    assert len({problem.form for problem in problems}) == len(problems)
    assert Problem.parse(**data(seed=1)).form is problems[0].form


SHARED = {"nothing": "", "matrices": "QG", "a limit": "h", "the objective": "Qq"}


@pytest.mark.parametrize("lead", [(1, 1), (1, 3), (2, 1)])
@pytest.mark.parametrize("shared", SHARED)
def test_some_problems_find_their_arguments_as_all_do(shared, lead):
    arguments, some = data("rows", (2, 3)), np.array([5, 0, 3])
    for name in SHARED[shared]:
        arguments[name] = arguments[name][: lead[0], : lead[1]]
    problem = Problem.parse(**arguments)
    whole, part = data_of(problem), data_of(problem, some)
    rows = np.array([problem.form.index(name) for name in CORE_AXES])
    assert np.array_equal(whole.entry, rows)
    assert np.array_equal(part.entry, rows[:, some])
    assert part.entry.flags.c_contiguous
    for name in CORE_AXES:
        assert np.array_equal(getattr(part, name), getattr(whole, name))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_copies_find_their_form(copied):
    solution = solve(**data("bounds", (4,)))
    other = copied(solution)
    assert other.problem.form is solution.problem.form
    expected, found = (vjp(some, dx=np.ones_like(some.x)) for some in (solution, other))
    assert_same_bits(fields(found), fields(expected))


@pytest.mark.parametrize("batch", [(), (1,), (1, 1)])
def test_answers_have_memory_of_their_own(batch):
    first = solve(**data(batch=batch, seed=1))
    before = {name: np.copy(getattr(first, name)) for name in ("x", "z", "status", "iterations")}
    second = solve(**data(batch=batch, seed=2))
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(first, name), value)
        assert not np.shares_memory(getattr(first, name), getattr(second, name))
        assert getattr(first, name).flags.writeable


def test_single_problems_in_many_threads_have_the_bits_of_lonely_ones():
    arguments = [data(seed=seed) for seed in range(20)]
    expected = [fields(solve(**some)) for some in arguments]
    with ThreadPoolExecutor(6) as callers:
        found = list(callers.map(lambda some: fields(solve(**some)), arguments * 20))
    for place, mine in enumerate(found):
        assert_same_bits(mine, expected[place % len(expected)])


def test_an_error_leaves_no_trace_in_the_next_solve():
    arguments = data()
    expected = fields(solve(**arguments))
    bad = solve(**arguments | {"q": np.full(10, np.nan)}, throw=False)
    assert bad.status == 6
    assert_same_bits(fields(solve(**arguments)), expected)


def test_nothing_keeps_arguments_alive():
    arguments = {name: value.copy() for name, value in data().items()}
    references = [weakref.ref(value) for value in arguments.values()]
    solution = solve(**arguments)
    gradients = vjp(solution, dx=np.ones(10))
    del arguments, solution, gradients
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)

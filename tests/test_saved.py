"""Factors that a solve leaves to derivatives, and factors of matrices that a batch shares."""

import copy
import os
import pickle
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checks import assert_same_bits, fields
from problems import Form, known, paper
from pullback import TIGHT, assert_close, drawn, oracle_gradients, pulled, random_cotangent

from qpcore import Settings, cpu, jvp, rooms, solve, solve_at_answer, solving, vjp
from qpcore.linearise import needs_one_factor

LARGE = cpu.MOST_IN_PACKS + 2

# Problems that are solved one at a time, in the dual form, with the batches they come in.
FORMS = [
    (Form(LARGE, 40), (3,)),
    (Form(LARGE, 40, 3, rows="mixed"), (2,)),
    (Form(30, 12, 2, rows="both"), ()),
    (Form(25, 9, rows="lower"), (1,)),
]
IDS = [f"{form}-{batch}" for form, batch in FORMS]


def large(batch=(3,), seed=170, rows="mixed"):
    return drawn(Form(LARGE, 20, 2, rows=rows), seed, batch)


def gradients_of(solution, cotangent):
    return fields(pulled(solution, cotangent))


@pytest.mark.parametrize(("form", "batch"), FORMS, ids=IDS)
def test_gradients_are_those_of_the_oracle(form, batch):
    problems = drawn(form, 171, batch)
    cotangent, solution = random_cotangent(problems.answer), solve(**problems.data, settings=TIGHT)
    assert solution.saved is not None
    gradients = pulled(solution, cotangent)
    assert gradients.trust.trusted.all()
    for name, expected in oracle_gradients(problems, cotangent).items():
        assert_close(getattr(gradients, name), expected, name)


@pytest.mark.parametrize(("form", "batch"), FORMS, ids=IDS)
def test_what_is_saved_changes_nothing_but_the_last_digits(form, batch):
    problems = drawn(form, 172, batch)
    cotangent, solution = random_cotangent(problems.answer), solve(**problems.data)
    found, expected = (pulled(s, cotangent) for s in (solution, copy.copy(solution)))
    for name in problems.data:
        assert_close(getattr(found, name), getattr(expected, name), name, rtol=1e-9)
    np.testing.assert_allclose(found.trust.margin, expected.trust.margin, rtol=0.2)
    assert (found.trust.condition < 10 * expected.trust.condition).all()


def test_every_derivative_uses_it_and_leaves_it_as_it_was():
    problems = large()
    cotangent, solution = random_cotangent(problems.answer), solve(**problems.data)
    first = gradients_of(solution, cotangent)
    tangents = jvp(solution, **{k: np.ones_like(v) for k, v in problems.data.items()})
    direction = solve_at_answer(solution, *cotangent)
    assert_same_bits(gradients_of(solution, cotangent), first)
    plain = copy.copy(solution)
    for found, expected in (
        (tangents, jvp(plain, **{k: np.ones_like(v) for k, v in problems.data.items()})),
        (direction, solve_at_answer(plain, *cotangent)),
    ):
        for name in ("x", "z", "y"):
            assert_close(getattr(found, name), getattr(expected, name), name, rtol=1e-9)
    gradients = pulled(solution, cotangent)
    pulled_back = sum(getattr(gradients, name).sum() for name in problems.data)
    parts = cotangent._asdict().items()
    pushed = sum((c * getattr(tangents, name)).sum() for name, c in parts)
    assert abs(pulled_back - pushed) <= 1e-10 * max(1, abs(pushed))


def test_threads_that_differentiate_one_solution_do_not_disturb_each_other():
    problems = large()
    cotangent, solution = random_cotangent(problems.answer), solve(**problems.data)
    expected = gradients_of(solution, cotangent)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: gradients_of(solution, cotangent), range(12)):
            assert_same_bits(found, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent():
    problems = large((1,))
    solution = solve(**problems.data)
    cotangent = random_cotangent(problems.answer)
    expected = pulled(solution, cotangent)
    with solution.saved.lock:  # as if another thread differentiated
        child = os.fork()
        if child == 0:
            code = 1
            try:
                found = pulled(solution, cotangent)
                code = 0 if np.allclose(found.Q, expected.Q, rtol=1e-9) else 2
            finally:
                os._exit(code)
    assert wait_for(child) == 0


def wait_for(child, seconds=60):
    """The exit code of a child; None if it hangs."""
    for _ in range(100 * seconds):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_copies_do_without_it(duplicate):
    problems = large((2,))
    solution = solve(**problems.data)
    other = duplicate(solution)
    assert solution.saved is not None
    assert other.saved is None
    cotangent = random_cotangent(problems.answer)
    found, expected = pulled(other, cotangent), pulled(solution, cotangent)
    assert_close(found.Q, expected.Q, "Q", rtol=1e-9)


def test_there_is_a_limit_to_what_is_saved(monkeypatch):
    problems = large((2,))
    expected = solve(**problems.data)
    monkeypatch.setattr(rooms, "MOST_SAVED", expected.saved.memory.block.nbytes - 1000)
    monkeypatch.setattr(solving, "maker_of_room", solving.maker_of_room.__wrapped__)
    solution = solve(**problems.data)
    assert solution.saved is None
    np.testing.assert_array_equal(solution.x, expected.x)


def test_who_keeps_solutions_does_not_keep_all_factors(monkeypatch):
    problems = large((2,))
    kept = [solve(**problems.data)]
    size = kept[0].saved.memory.block.nbytes
    monkeypatch.setattr(rooms, "MOST_SAVED", 3 * size)
    cotangent = random_cotangent(problems.answer)
    first = gradients_of(kept[0], cotangent)
    kept += [solve(**problems.data) for _ in range(6)]
    assert sum(solution.saved.memory is not None for solution in kept) == 3
    assert kept[-1].saved.memory is not None
    assert_close(gradients_of(kept[0], cotangent)["Q"], first["Q"], "Q", rtol=1e-9)
    assert_same_bits(gradients_of(kept[-1], cotangent), first)


@pytest.mark.parametrize(
    "arguments",
    [
        {"settings": Settings(trace=True)},
        {"lb": np.full(LARGE, -1e3)},  # bounds go another way
    ],
    ids=["trace", "bounds"],
)
def test_nothing_is_saved_where_nobody_could_use_it(arguments):
    problems = large((1,))
    assert solve(**problems.data, **arguments).saved is None


def test_nothing_is_saved_of_small_problems_in_a_batch_and_of_float32():
    assert solve(**drawn(Form(30, 12), 173, (2,)).data).saved is None
    data = {k: v.astype(np.float32) for k, v in large((1,)).data.items()}
    assert solve(**data).saved is None


def test_one_problem_without_a_dual_form_leaves_the_others_as_they_are():
    """Q of the second problem is singular; its answer is unique."""
    problems = large(seed=174)
    data = {name: value.copy() for name, value in problems.data.items()}
    singular = known(Form(LARGE, 20, 2, rows="mixed", rank=LARGE - 6), 175)
    for name, value in data.items():
        value[1] = singular.data[name]
    cotangent = random_cotangent(problems.answer)
    whole, spoiled = solve(**problems.data), solve(**data)
    assert spoiled.saved is not None
    expected, found = pulled(whole, cotangent), pulled(spoiled, cotangent)
    for name in data:
        for index in (0, 2):
            same = getattr(found, name)[index] == getattr(expected, name)[index]
            assert same.all(), name
    alone = pulled(copy.copy(spoiled), cotangent)
    assert_close(found.Q[1], alone.Q[1], "Q", rtol=1e-9)
    assert found.trust.trusted[1]


def degenerate(kind, n=26):
    """One problem of n variables: x = 1 in the first ones, where rows bind."""
    data = {"Q": np.eye(n), "q": np.full(n, -2.0), "G": np.eye(n)[:4], "h": np.ones(4)}
    if kind == "multiplier of zero":
        data["q"][0] = -1.0
    elif kind == "dependent rows":
        data["G"], data["h"] = np.r_[data["G"], data["G"][:1]], np.ones(5)
    return data


@pytest.mark.parametrize("kind", ["multiplier of zero", "dependent rows"])
def test_degenerate_points_are_flagged(kind):
    solution = solve(**degenerate(kind))
    assert solution.saved is not None
    gradients = vjp(solution, dx=np.ones(26))
    assert not gradients.trust.trusted
    assert gradients.trust.margin < 1e-4
    assert all(np.isfinite(getattr(gradients, name)).all() for name in ("Q", "q", "G", "h"))
    assert vjp(solve(**degenerate("none")), dx=np.ones(26)).trust.trusted


# ---- matrices that the batch shares --------------------------------------------------------------


def sharing(n, m, p, count):
    """Problems that differ in q, h and b, and the same with matrices of their own."""
    shared = paper(n, m, p, 176, (count,))
    for name in ("Q", "G", "A"):
        shared[name] = shared[name][0]
    shared["h"] = shared["h"] + 3.0
    own = shared | {k: np.stack([shared[k]] * count) for k in ("Q", "G", "A")}
    return shared, own


@pytest.mark.parametrize(("n", "count"), [(8, 30), (40, 20), (LARGE, 3)])
def test_answers_have_the_bits_that_they_have_with_matrices_of_their_own(n, count):
    """The first factor serves the whole batch."""
    shared, own = sharing(n, n - 2, 2, count)
    one = Settings(threads=1)
    assert_same_bits(fields(solve(**shared, settings=one)), fields(solve(**own, settings=one)))


@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_of_large_problems_with_shared_matrices(threads):
    shared, own = sharing(LARGE, 30, 2, 4)
    together, apart = (solve(**d, settings=Settings(threads=threads)) for d in (shared, own))
    assert together.saved is None
    assert needs_one_factor(together, alone=False)
    dx = np.random.default_rng(0).standard_normal(together.x.shape)
    found, expected = vjp(together, dx=dx), vjp(apart, dx=dx)
    for name in ("q", "h", "b"):
        assert_close(getattr(found, name), getattr(expected, name), name, rtol=1e-12)
    for name in ("Q", "G", "A"):
        assert_close(getattr(found, name), getattr(expected, name).sum(axis=0), name, rtol=1e-12)


def test_a_flaw_in_the_first_problems_does_not_spoil_the_factor():
    """Where no vector of a pack is sound, nobody needs the factor there; the next pack does."""
    shared, _ = sharing(8, 6, 2, 30)
    expected = solve(**shared, settings=Settings(threads=1))
    shared["q"] = np.where(np.arange(30)[:, None] < 20, np.nan, shared["q"])
    found = solve(**shared, settings=Settings(threads=1), throw=False)
    np.testing.assert_array_equal(found.x[20:], expected.x[20:])


def test_shared_matrices_without_a_dual_form():
    shared, _ = sharing(LARGE, 20, 2, 3)
    u = np.linalg.qr(np.random.default_rng(1).standard_normal((LARGE, LARGE)))[0]
    shared["Q"] = u[:, :-3] @ u[:, :-3].T  # the rows see to the rest
    rows = np.r_[u[:, -3:].T, -u[:, -3:].T]
    shared["G"], shared["h"] = (
        np.r_[rows, shared["G"][:4]],
        np.r_[np.ones(6), np.full(4, 50.0)] * np.ones((3, 1)),
    )
    solution = solve(**shared)
    gradients = vjp(solution, dx=np.ones(solution.x.shape))
    own = {k: np.stack([v] * 3) if k in "QGA" else v for k, v in shared.items()}
    expected = vjp(copy.copy(solve(**own)), dx=np.ones(solution.x.shape))
    assert_close(gradients.q, expected.q, "q", rtol=1e-8)

"""Factors of packs that a solve keeps for derivatives where it is asked to."""

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checks import assert_same_bits, fields
from oracle import Point
from problems import Form, paper
from pullback import TIGHT, assert_close, drawn, oracle_gradients, pulled, random_cotangent

from qpcore import (
    Settings,
    Status,
    Untrusted,
    gradients,
    jvp,
    reuse,
    rooms,
    solve,
    solve_at_answer,
    solving,
    vjp,
)
from qpcore.kernels.known import SOUND
from qpcore.kernels.outer import LEAST_ROW, TOGETHER
from qpcore.kernels.workspace import KNOWN

# Problems that are solved in packs, in the dual form: with fewer rows than are brought together and
# with more, with equations, and in batches that do not fill their packs.
FORMS = [
    (Form(10, 8), (11,)),
    (Form(5, 4, 1, rows="mixed"), (2, 3)),
    (Form(3, 2), (9,)),
    (Form(12, 9, 2, rows="both"), ()),
    (Form(40, 36, rows="mixed"), (10,)),
    (Form(45, 40, 3, rows="lower"), (3,)),
    (Form(6, 1, 2), (8,)),
]
IDS = [f"{form}-{batch}" for form, batch in FORMS]


def keeping(problems, **options):
    return solve(**problems.data, keep_factors=True, **options)


def sound(solution):
    """(batch,) bool, where the factors serve."""
    packs, begins = solution.saved.factors
    return packs[begins[:-1] + SOUND].reshape(-1)[: solution.status.size] > 0


def gradients_of(solution, cotangent):
    return fields(pulled(solution, cotangent))


@pytest.mark.parametrize(("form", "batch"), FORMS, ids=IDS)
def test_gradients_are_those_of_the_oracle(form, batch):
    problems = drawn(form, 190, batch)
    cotangent, solution = random_cotangent(problems.answer), keeping(problems, settings=TIGHT)
    assert sound(solution).all()
    gradients = pulled(solution, cotangent)
    assert gradients.trust.trusted.all()
    for name, expected in oracle_gradients(problems, cotangent).items():
        assert_close(getattr(gradients, name), expected, name)


@pytest.mark.parametrize(("form", "batch"), FORMS, ids=IDS)
def test_they_are_those_without_but_for_the_last_digits(form, batch):
    problems = drawn(form, 191, batch)
    cotangent, solution = random_cotangent(problems.answer), keeping(problems)
    plain = solve(**problems.data)
    assert_same_bits(fields(solution), fields(plain))
    assert plain.saved is None
    found, expected = pulled(solution, cotangent), pulled(plain, cotangent)
    for name in problems.data:
        assert_close(getattr(found, name), getattr(expected, name), name, rtol=1e-10)
    # Rows of G that do not bind have a say in the scale of one of them, and not of the other.
    np.testing.assert_allclose(found.trust.margin, expected.trust.margin, rtol=0.5)


@pytest.mark.parametrize("n", [10, 40])
def test_float32(n):
    """Their dual form is in float64, and so is its factor."""
    problems = drawn(Form(n, n - 3, 2, rows="mixed"), 189, (11,)).astype(np.float32)
    cotangent = type(problems.answer)(
        *(v.astype(np.float32) for v in random_cotangent(problems.answer))
    )
    solution = keeping(problems)
    assert sound(solution).any()
    found = pulled(solution, cotangent)
    expected = pulled(solve(**{k: v.astype(float) for k, v in problems.data.items()}), cotangent)
    for name in problems.data:
        assert getattr(found, name).dtype == np.float32
        assert_close(getattr(found, name), getattr(expected, name), name, rtol=1e-5)
    assert found.trust.trusted.all()
    assert found.trust.error.dtype == np.float32


def test_a_problem_has_the_same_bits_in_every_batch():
    problems = drawn(Form(40, 36, rows="mixed"), 192, (17,))
    cotangent = random_cotangent(problems.answer)
    whole = gradients_of(keeping(problems), cotangent)
    for part in (slice(2), slice(3, 12), slice(8, 17)):
        data = {name: value[part] for name, value in problems.data.items()}
        some = type(cotangent)(*(v[part] for v in cotangent))
        found = gradients_of(solve(**data, keep_factors=True), some)
        assert_same_bits(found, {name: value[part] for name, value in whole.items()})


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(threads):
    problems = drawn(Form(12, 9, 2, rows="both"), 193, (100,))
    cotangent = random_cotangent(problems.answer)
    one, more = (
        gradients_of(keeping(problems, settings=Settings(threads=count)), cotangent)
        for count in (1, threads)
    )
    assert_same_bits(one, more)


def test_every_derivative_uses_them_and_threads_share_them():
    problems = drawn(Form(12, 9, 2, rows="both"), 194, (10,))
    cotangent, solution = random_cotangent(problems.answer), keeping(problems)
    expected = gradients_of(solution, cotangent)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: gradients_of(solution, cotangent), range(12)):
            assert_same_bits(found, expected)
    tangents = jvp(solution, **{k: np.ones_like(v) for k, v in problems.data.items()})
    pulled_back = sum(getattr(pulled(solution, cotangent), k).sum() for k in problems.data)
    parts = cotangent._asdict().items()
    pushed = sum((c * getattr(tangents, name)).sum() for name, c in parts)
    assert abs(pulled_back - pushed) <= 1e-10 * max(1, abs(pushed))
    plain = copy.copy(solution)
    for name in ("x", "z", "y"):
        found, other = (getattr(solve_at_answer(s, *cotangent), name) for s in (solution, plain))
        assert_close(found, other, name, rtol=1e-10)


def test_answers_are_not_written_to():
    problems = drawn(Form(12, 9, 2, rows="both"), 195, (10,))
    solution = keeping(problems, settings=Settings(untrusted=Untrusted.SMOOTH))
    before = pickle.dumps((solution.x, solution.z, solution.y))
    tangents = jvp(solution, q=np.ones_like(problems.data["q"]))
    tangents.x[...] = 0
    pulled(solution, random_cotangent(problems.answer))
    assert pickle.dumps((solution.x, solution.z, solution.y)) == before


# ---- shared arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["Q", "GA", "h", "qhb"])
def test_arguments_that_the_batch_shares(shared):
    data = paper(10, 7, 2, 196, (12,))
    for name in shared:
        data[name] = data[name][0]
    if "G" in shared or "h" in shared:
        data["h"] = data["h"] + 4.0
    if "A" in shared and "b" not in shared:
        data["b"] = data["b"] * 0.1
    solution, plain = solve(**data, keep_factors=True), solve(**data)
    assert sound(solution).any()
    dx = np.random.default_rng(0).standard_normal(solution.x.shape)
    found, expected = vjp(solution, dx), vjp(plain, dx)
    for name in data:
        assert_close(getattr(found, name), getattr(expected, name), name, rtol=1e-10)


def test_nothing_is_kept_of_matrices_that_all_problems_share():
    """Gradients of shared parameters are to need no memory beside the vectors."""
    data = paper(10, 7, 2, 197, (12,))
    for name in "QGA":
        data[name] = data[name][0]
    data["h"] = data["h"] + 4.0
    assert solve(**data, keep_factors=True, throw=False).saved is None


# ---- where they do not serve ---------------------------------------------------------------------


def degenerate(kind, count=11, n=8):
    """Problems with x = 1 in the first variables, where rows bind; number 4 is degenerate."""
    data = {
        "Q": np.stack([np.eye(n)] * count),
        "q": np.full((count, n), -2.0),
        "G": np.stack([np.eye(n)[[0, 1, 2, 3, 0]]] * count),
        "h": np.ones((count, 5)),
    }
    data["h"][:, 4] = 3.0
    if kind == "multiplier of zero":
        data["q"][4, 0] = -1.0
    elif kind == "dependent rows":
        data["h"][4, 4] = 1.0
    elif kind == "steep":
        data["Q"][4] = np.diag(10.0 ** -np.arange(n))
    elif kind == "infeasible":
        data["G"][4, 4] *= -1
        data["h"][4, 4] = -3.0
    return data


KINDS = ["multiplier of zero", "dependent rows", "steep", "infeasible"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_are_asked_where_a_factor_does_not_serve(kind):
    data = degenerate(kind)
    solution, plain = (solve(**data, keep_factors=k, throw=False) for k in (True, False))
    np.testing.assert_array_equal(np.flatnonzero(~sound(solution)), [4])
    dx = np.random.default_rng(1).standard_normal(solution.x.shape)
    found, expected = vjp(solution, dx), vjp(plain, dx)
    for name in data:
        np.testing.assert_array_equal(getattr(found, name)[4], getattr(expected, name)[4])
        rest = np.delete(np.arange(11), 4)
        assert_close(getattr(found, name)[rest], getattr(expected, name)[rest], name, rtol=1e-12)
    assert found.trust.trusted[4] == expected.trust.trusted[4] == (kind == "steep")
    assert found.trust.trusted[rest].all()
    assert np.isfinite(found.Q[4]).all() == (kind != "infeasible")


@pytest.mark.parametrize("policy", [Untrusted.ZERO, Untrusted.NAN, Untrusted.SMOOTH])
def test_policies_apply(policy):
    data, settings = degenerate("multiplier of zero"), Settings(untrusted=policy)
    solution, plain = (solve(**data, settings=settings, keep_factors=k) for k in (True, False))
    dx = np.ones(solution.x.shape)
    found, expected = vjp(solution, dx), vjp(plain, dx)
    for name in data:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)


def test_failures_are_left_out():
    data = degenerate("none")
    data["q"][6] = np.nan
    solution = solve(**data, keep_factors=True, throw=False)
    assert solution.status[6] == Status.NONFINITE_INPUT
    gradients = vjp(solution, np.ones(solution.x.shape))
    assert np.isnan(gradients.q[6]).all()
    assert np.isfinite(np.delete(gradients.q, 6, axis=0)).all()


@pytest.mark.parametrize("count", [1, 8, 11])
def test_no_factor_at_all(count):
    """Where no problem of a pack has a dual form, nobody knows which rows bind."""
    data = {name: value[:count].copy() for name, value in degenerate("none").items()}
    data["Q"][:8, 7, 7] = 0.0  # beside a flat direction that no row stops
    data["q"][:8, 7] = 0.0
    solution, plain = (solve(**data, keep_factors=k, throw=False) for k in (True, False))
    assert not sound(solution)[:8].any()
    assert sound(solution)[8:].all()
    packs, begins = solution.saved.factors
    packs[begins[0] + 1 : begins[0] + KNOWN] = 1e300  # as memory that was not used before may hold
    dx = np.ones(solution.x.shape)
    found, expected = vjp(solution, dx), vjp(plain, dx)
    for name in data:
        assert_close(getattr(found, name), getattr(expected, name), name, rtol=1e-12)


def test_errors_stay_below_their_estimate():
    """Steep problems among easy ones: their factors are not to serve where they are no good."""
    rng, n, count = np.random.default_rng(198), 30, 400
    u = np.linalg.qr(rng.standard_normal((count, n, n)))[0]
    spread = 10.0 ** -(rng.uniform(0, 9, (count, 1)) ** rng.uniform(0, 1, (count, n)))
    data = paper(n, 20, 0, 199, (count,))
    data["Q"] = u * spread[:, None] @ u.swapaxes(1, 2)
    solution = solve(**data, keep_factors=True, throw=False)
    assert 0.1 < sound(solution).mean() < 0.9
    dx = rng.standard_normal(solution.x.shape)
    found, expected = vjp(solution, dx), vjp(copy.copy(solution), dx)
    size = np.abs(expected.q).max(axis=1)
    error = np.abs(found.q - expected.q).max(axis=1) / size
    good = sound(solution) & (solution.status == Status.SOLVED)
    assert error[good].max() < 1e-9
    assert (error[good] <= found.trust.error[good] + expected.trust.error[good]).mean() > 0.95


# ---- how long they are kept ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"settings": Settings(trace=True)},
        {"lb": np.full(8, -1e3)},  # bounds go another way
        {"keep_factors": False},
    ],
    ids=["trace", "bounds", "not asked"],
)
def test_nothing_is_kept_where_nobody_could_use_it(arguments):
    assert solve(**{"keep_factors": True} | degenerate("none") | arguments).saved is None


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))]
)
def test_copies_do_without(duplicate):
    solution = solve(**degenerate("none"), keep_factors=True)
    assert solution.saved is not None
    assert duplicate(solution).saved is None


@pytest.mark.parametrize(
    ("n", "m", "p"), [(10, 10, 0), (9, 7, 2), (6, 3, 1), (8, 1, 0), (40, 9, 3)]
)
@pytest.mark.parametrize("count", [5, 16, 37])
def test_gradients_past_the_cache_are_the_same(n, m, p, count, monkeypatch):
    """Those with short rows are put together to lines, but for a group that is not full."""
    data = paper(n, m, p, 11, (count,))
    solution = solve(**data, keep_factors=True)
    assert sound(solution).any()
    answer = solution.x, solution.z, solution.y, solution.z_box
    cotangent = random_cotangent(Point(*answer))
    expected = gradients_of(solution, cotangent)
    monkeypatch.setattr(gradients, "rooms_of", gradients.rooms_of.__wrapped__)
    monkeypatch.setattr(reuse, "LEAST", 0)  # memory that begins with a line of the cache
    monkeypatch.setattr(reuse, "ADVISED", 0)
    monkeypatch.setattr(rooms, "LEAST_PAST_CACHE", 0)
    seen, shift_of = [], rooms.shift_of
    monkeypatch.setattr(rooms, "shift_of", lambda out: seen.append(shift_of(out)) or seen[-1])
    assert_same_bits(gradients_of(solution, cotangent), expected)
    assert (TOGETHER in seen) == (n < LEAST_ROW)


def test_there_is_a_limit_for_a_solve(monkeypatch):
    data = degenerate("none")
    size = solve(**data, keep_factors=True).saved.factors.packs.nbytes
    monkeypatch.setattr(rooms, "MOST_KEPT", size - 1)
    monkeypatch.setattr(solving, "maker_of_room", solving.maker_of_room.__wrapped__)
    assert solve(**data, keep_factors=True).saved is None


def test_who_keeps_solutions_does_not_keep_all_factors_and_the_dead_do_not_count(monkeypatch):
    data = degenerate("none")
    first = solve(**data, keep_factors=True)
    expected = vjp(first, np.ones(first.x.shape))
    gc.collect()
    rooms.recent.tidy()
    monkeypatch.setattr(
        rooms, "MOST_SAVED", rooms.recent.bytes + 2 * first.saved.factors.packs.nbytes
    )
    for _ in range(200):
        solve(**data, keep_factors=True)
    assert first.saved.factors is not None
    assert len(rooms.recent.saved) < 150
    others = [solve(**data, keep_factors=True) for _ in range(3)]
    assert first.saved.factors is None
    assert others[-1].saved.factors is not None
    assert_close(vjp(first, np.ones(first.x.shape)).Q, expected.Q, "Q", rtol=1e-12)

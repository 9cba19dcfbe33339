"""Solution: its measures against plain formulas, its complaint about failures."""

import tracemalloc

import numpy as np
import pytest

from qpcore import Gradients, Problem, Settings, Solution, SolveError, Status

N, M, P = 4, 3, 2
CORES = {
    "Q": (N, N), "q": (N,), "G": (M, N), "h": (M,), "A": (P, N), "b": (P,), "lb": (N,), "ub": (N,),
    "h_lower": (M,),
}  # fmt: skip
MEASURES = [
    "objective",
    "primal_residual",
    "primal_scale",
    "dual_residual",
    "dual_scale",
    "duality_gap",
    "gap_scale",
]


def build(problem, seed=0, status=None, **parts):
    """A solution of random numbers, whether they solve the problem or not."""
    rng = np.random.default_rng(seed)
    batch = problem.batch_shape
    sizes = {"x": problem.n, "z": problem.m, "y": problem.p, "z_box": problem.n}
    numbers = {
        name: rng.normal(size=(*batch, size)).astype(problem.dtype) for name, size in sizes.items()
    }
    status = np.zeros(batch, np.int8) if status is None else np.asarray(status, np.int8)
    return Solution(
        **(numbers | parts),
        status=status,
        iterations=np.ones(batch, np.int32),
        problem=problem,
        settings=Settings(),
    )


def naive(problem, x, z, y, z_box):
    """All measures of one unbatched problem, entry by entry, from the formulas of the design."""
    Q, q, G, A, b = (getattr(problem, name) for name in ("Q", "q", "G", "A", "b"))
    Gx = [] if G is None else [sum(g * v for g, v in zip(row, x, strict=True)) for row in G]
    Ax = [] if A is None else [sum(a * v for a, v in zip(row, x, strict=True)) for row in A]
    b = [] if b is None else b
    violation, primal_size, unowned = [0.0], [*Gx, *Ax, *b], [0.0]
    pull = {"G": 0.0, "box": 0.0}
    for name, sign, values, multipliers, block in (
        ("h", 1, Gx, z, "G"),
        ("h_lower", -1, Gx, z, "G"),
        ("ub", 1, x, z_box, "box"),
        ("lb", -1, x, z_box, "box"),
    ):
        limits = getattr(problem, name)
        for i, (value, multiplier) in enumerate(zip(values, multipliers, strict=True)):
            force = max(sign * multiplier, 0.0)
            if limits is None or abs(limits[i]) >= 1e20:
                unowned.append(force)
                continue
            violation.append(sign * (value - limits[i]))
            primal_size += [limits[i], value]
            pull[block] += sign * limits[i] * force
    violation += [abs(a - c) for a, c in zip(Ax, b, strict=True)]
    columns = range(len(x))
    Qx = [sum((Q[i, j] + Q[j, i]) / 2 * x[j] for j in columns) for i in columns]
    Gz = [sum(G[i, j] * z[i] for i in range(len(z))) for j in columns]
    Ay = [sum(A[i, j] * y[i] for i in range(len(y))) for j in columns]
    stationarity = [Qx[j] + q[j] + Gz[j] + Ay[j] + z_box[j] for j in columns]
    xQx = sum(x[j] * Qx[j] for j in columns)
    qx = sum(q[j] * x[j] for j in columns)
    terms = [xQx, qx, sum(c * v for c, v in zip(b, y, strict=True)), pull["G"], pull["box"]]
    return {
        "objective": xQx / 2 + qx,
        "primal_residual": max(violation),
        "primal_scale": max(map(abs, primal_size), default=0.0),
        "dual_residual": max(*map(abs, stationarity), *unowned),
        "dual_scale": max(map(abs, [*Qx, *q, *Gz, *Ay, *z_box])),
        "duality_gap": abs(sum(terms)),
        "gap_scale": max(map(abs, terms)),
    }


def one(problem, position):
    """The problem at this position of the batch, by itself."""
    names = [name for name in CORES if getattr(problem, name) is not None]
    batch = problem.batch_shape
    full = {name: np.broadcast_to(getattr(problem, name), batch + CORES[name]) for name in names}
    return Problem.parse(**{name: array[position] for name, array in full.items()})


FORMS = {
    "free": "",
    "upper rows": "G h",
    "lower rows": "G h_lower",
    "both sides": "G h h_lower",
    "equalities": "A b",
    "upper bounds": "ub",
    "box": "lb ub",
    "all": "G h A b lb ub h_lower",
}
LEADS = {
    "single": ((), ()),
    "shared but q": ((5,), ()),
    "own": ((5,), (5,)),
    "two axes": ((2, 3), (2, 1)),
    "expanded": ((5,), (1,)),
    "empty": ((0,), ()),
}
"""Batch shape of q, batch shape of the rest."""


def random_problem(form, leads, dtype=np.float64, dropped=0.3):
    """Random data of this form, with some sides dropped in some problems."""
    rng = np.random.default_rng(1)
    lead, rest = LEADS[leads]
    data = {"q": rng.normal(size=(*lead, N)), "Q": rng.normal(size=(*rest, N, N))}
    for name in FORMS[form].split():
        data[name] = rng.normal(size=rest + CORES[name])
        if name not in ("G", "A", "b"):
            out = rng.random(data[name].shape) < dropped
            data[name][out] = rng.choice([np.inf, -np.inf, 1e20, -1e25], size=out.sum())
    return Problem.parse(**{name: array.astype(dtype) for name, array in data.items()})


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize("form", FORMS)
def test_measures_match_the_naive_loop(form, leads):
    problem = random_problem(form, leads)
    solution = build(problem)
    for name in MEASURES:
        value = getattr(solution, name)()
        assert isinstance(value, np.ndarray)
        assert value.shape == problem.batch_shape
        assert value.dtype == np.float64
        for at in np.ndindex(problem.batch_shape):
            point = (solution.x[at], solution.z[at], solution.y[at], solution.z_box[at])
            expected = naive(one(problem, at), *point)[name]
            np.testing.assert_allclose(value[at], expected, rtol=1e-13, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_float32_data_is_measured_in_float64(form):
    narrow = build(random_problem(form, "own", np.float32))
    wide_data = {
        name: array.astype(np.float64)
        for name in CORES
        if (array := getattr(narrow.problem, name)) is not None
    }
    points = {name: getattr(narrow, name).astype(float) for name in ("x", "z", "y", "z_box")}
    wide = build(Problem.parse(**wide_data), **points)
    for name in MEASURES:
        np.testing.assert_array_equal(getattr(narrow, name)(), getattr(wide, name)(), name)


def test_measures_vanish_at_a_known_optimum():
    # minimise ½‖x‖² - x1 - x2 with x1 <= 0.5 and x2 = 0.25: multipliers by hand.
    problem = Problem.parse(np.eye(2), [-1.0, -1.0], A=[[0.0, 1.0]], b=[0.25], ub=[0.5, np.inf])
    parts = {"x": [0.5, 0.25], "z": [], "y": [0.75], "z_box": [0.5, 0.0]}
    solution = build(problem, **{name: np.array(value) for name, value in parts.items()})
    assert solution.objective() == 0.5 * 0.3125 - 0.75
    assert solution.primal_residual() == 0
    assert solution.dual_residual() == 0
    assert solution.duality_gap() == 0


@pytest.mark.parametrize(
    ("limits", "z_box"), [({"ub": [0.0]}, -1.0), ({"lb": [0.0]}, 1.0), ({}, 1.0), ({}, -1.0)]
)
def test_multiplier_of_the_wrong_sign_is_not_optimal(limits, z_box):
    # Stationary and without gap at x = 0, but nothing there holds x back in that direction.
    problem = Problem.parse([[1.0]], [-z_box], **limits)
    solution = build(problem, x=np.zeros(1), z_box=np.array([z_box]))
    assert solution.dual_residual() == 1


@pytest.mark.parametrize("name", MEASURES)
def test_certificates_have_no_measures(name):
    status = np.arange(len(Status))
    problem = Problem.parse(np.eye(N), np.ones((len(status), N)), lb=0.0)
    value = getattr(build(problem, status=status), name)()
    infeasible = np.isin(status, [Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE])
    np.testing.assert_array_equal(np.isnan(value), infeasible)


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["q", "Q", "G", "b"])
def test_a_bad_problem_leaves_its_neighbours_alone(name, bad, where):
    rng = np.random.default_rng(2)
    shapes = {**CORES, "q": (5, N)}
    data = {key: rng.normal(size=shapes[key]) for key in ("Q", "q", "G", "h", "A", "b", "lb")}
    clean = build(Problem.parse(**data))
    spoiled = {**data, where: np.broadcast_to(data[where], (5, *CORES[where])).copy()}
    spoiled[where][2] = bad
    x = clean.x.copy()
    x[2] = np.nan
    parts = {name: getattr(clean, name) for name in ("z", "y", "z_box")}
    value = getattr(build(Problem.parse(**spoiled), x=x, **parts), name)()
    others = np.arange(5) != 2
    assert np.isnan(value[2])
    np.testing.assert_allclose(value[others], getattr(clean, name)()[others], rtol=1e-14)


def test_shared_matrices_are_not_repeated():
    # 20000 copies of this Q would take 1.6 GB: tracemalloc sees what NumPy allocates.
    n, batch = 100, 20000
    problem = Problem.parse(np.broadcast_to(np.eye(n), (batch, n, n)), np.ones(n), lb=0.0)
    solution = build(problem)
    tracemalloc.start()
    for name in MEASURES:
        getattr(solution, name)()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * solution.x.nbytes


# ---- failures ------------------------------------------------------------------------------------


def batch_of(status):
    status = np.asarray(status, np.int8)
    return build(Problem.parse(np.eye(2), np.ones((*status.shape, 2))), status=status)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0,)])
def test_all_solved_raises_nothing(shape):
    solution = batch_of(np.zeros(shape))
    assert solution.solved.shape == shape
    assert solution.solved.all()
    solution.raise_for_status()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (4, ["1 of 1 problems", "index (): NOT_CONVEX", Status.NOT_CONVEX.remedy]),
        ([0, 1, 0], ["1 of 3 problems", "1 MAX_ITERATIONS", "index (1,)"]),
        ([[0, 0], [3, 2]], ["2 of 4 problems", "index (1, 0): DUAL_INFEASIBLE"]),
        (
            [6, 2, 6],
            ["3 of 3", "2 NONFINITE_INPUT", "1 PRIMAL_INFEASIBLE", "(0,): NONFINITE_INPUT"],
        ),
    ],
)
def test_failure_is_counted_located_and_remedied(status, words):
    solution = batch_of(status)
    with pytest.raises(SolveError) as caught:
        solution.raise_for_status()
    assert caught.value.solution is solution
    for word in [*words, "throw=False"]:
        assert word in str(caught.value)


def test_solved_is_true_only_for_solved():
    solved = batch_of(list(Status)).solved
    assert solved.dtype == bool
    assert solved.tolist() == [status is Status.SOLVED for status in Status]


def test_gradients_of_absent_arguments_are_none():
    gradients = Gradients(Q=np.eye(2), q=np.ones(2))
    assert all(
        getattr(gradients, name) is None for name in ("G", "h", "A", "b", "lb", "ub", "h_lower")
    )

"""Whatever comes in, what comes out is right: no crash, no hang, no wrong verdict.

Every example is a batch of 20 problems. The slow run makes 20,000 cases, a bar of the project.
"""

import contextlib
from datetime import timedelta
from types import SimpleNamespace

import hostile
import numpy as np
import pytest
from checks import (
    DUAL_INFEASIBLE,
    NONFINITE_INPUT,
    NOT_CONVEX,
    PRIMAL_INFEASIBLE,
    SOLVED,
    answers,
    assert_certificate,
    assert_optimal,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import full
from problems import Form

from qpcore import QPError, Status, solve

TOL = {np.float64: 1e-8, np.float32: 1e-5}
RATIO = {np.float64: 1e-6, np.float32: 1e-3}
ROUNDING = {np.float64: 1e-14, np.float32: 1e-6}  # some units in the last place, of a sum's terms
COUNT = 20

# No batch of 20 small problems takes a hundredth of this; it allows for a busy machine.
DEADLINE = timedelta(seconds=20)

EXPONENT = st.sampled_from([0, 1, -1, 3, -3, 6, -6, 9, -9, 12, -12])
SPREAD = st.sampled_from([0, 0, 1, 3, 6, 12])
MOSTLY_ZERO = st.one_of(st.just(0), st.just(0), EXPONENT)
SIDES = st.sampled_from(["none", "upper", "lower", "both", "mixed"])
KNOBS = st.sampled_from(["columns", "rows", "equalities", "cost"])
UNITS = st.one_of(  # none, one, any number of them
    st.just({}), *(st.dictionaries(KNOBS, st.tuples(EXPONENT, SPREAD), max_size=n) for n in (1, 4))
)


@st.composite
def forms(draw, kind):
    n = draw(st.integers(1, 12))
    m, p = draw(st.integers(0, 15)), draw(st.integers(0, n))
    rank = draw(st.integers(0, n))
    rows, box = draw(SIDES.filter(lambda side: side != "none")), draw(SIDES)
    if "infeasible" in kind and m + p == 0:
        m = 1
    if "unbounded" in kind:
        rank, p = min(rank, n - 1), min(p, n - 1)
        box = "mixed" if box == "both" else box
    return Form(n, m, p, rows, box, rank=rank)


@st.composite
def recipes(draw):
    kind = draw(st.sampled_from(["solvable", *hostile.KINDS]))
    shared = kind == "solvable" and draw(st.booleans())
    spoils = st.lists(st.sampled_from(list(hostile.SPOILS)), max_size=0 if shared else 6)
    return hostile.Recipe(
        form=draw(forms(kind)),
        kind=kind,
        seed=draw(st.integers(0, 2**32 - 1)),
        count=COUNT,
        dtype=draw(st.sampled_from([np.float64, np.float64, np.float32])),
        traits=tuple(draw(st.lists(st.sampled_from(list(hostile.TRAITS)), unique=True))),
        spoils=tuple(draw(spoils)),
        units=draw(UNITS),
        slope=draw(MOSTLY_ZERO),
        reach=draw(MOSTLY_ZERO),
        layout=draw(st.sampled_from(list(hostile.LAYOUTS))),
        shared=shared,
        axes=draw(st.booleans()),
    )


def flaws(recipe):
    """Solve a batch; yield the index of each problem that is wrong, and what about it is."""
    batch = hostile.hostile(recipe)
    before = {name: value.copy() for name, value in batch.data.items()}
    solution = solve(**batch.data, throw=False)
    for name, value in batch.data.items():
        np.testing.assert_array_equal(value, before[name], err_msg=f"{name} was changed")
    for i, (index, data, answer) in enumerate(answers(solution, batch.data)):
        status = Status(int(solution.status[index]))
        if batch.must[i] not in (hostile.UNKNOWN, status):
            yield i, f"{status.name}, must be {Status(batch.must[i]).name}"
        elif status in batch.must_not[i]:
            yield i, f"{status.name}, must not be"
        else:
            try:
                with np.errstate(over="ignore", invalid="ignore"):  # next to the end of the range
                    assert_kept(status, data, answer, recipe)
            except AssertionError as error:
                yield i, f"{status.name}: {error}"


def assert_kept(status, data, answer, recipe):
    """What a status promises of the outputs."""
    if status == SOLVED:
        assert_optimal(data, answer, TOL[recipe.dtype])
    elif status in (NOT_CONVEX, NONFINITE_INPUT):
        assert all(np.isnan(part).all() for part in answer), "outputs have no meaning"
    elif status == PRIMAL_INFEASIBLE and hostile.demanded(data) == status:
        assert_marks_crossed(full(data), answer)
    elif status in (PRIMAL_INFEASIBLE, DUAL_INFEASIBLE):
        claim = SimpleNamespace(**answer._asdict(), status=status)
        ratio = RATIO[recipe.dtype] if recipe.mild else np.inf
        assert_certificate(data, claim, (), ratio, ROUNDING[recipe.dtype])


def assert_marks_crossed(d, answer):
    """Ones beside limits that cross; together with x NaN."""
    assert np.isnan(answer.x).all()
    np.testing.assert_array_equal(answer.z, d["h_lower"] > d["h"])
    np.testing.assert_array_equal(answer.z_box, d["lb"] > d["ub"])
    np.testing.assert_array_equal(answer.y, 0)


@pytest.fixture(scope="module")
def compiled():
    """Kernels of both dtypes, so that no example waits for them."""
    for dtype in TOL:
        solve(np.eye(2, dtype=dtype), np.ones(2, dtype))


def fuzz(cases):
    """Run over batches of ``COUNT`` cases, always the same ones."""
    return settings(
        max_examples=cases // COUNT,
        derandomize=True,
        deadline=DEADLINE,
        print_blob=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.mark.timeout(120)
@fuzz(1_000)
@given(recipe=recipes())
def test_no_wrong_verdict(compiled, recipe):
    assert not list(flaws(recipe))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@fuzz(20_000)
@given(recipe=recipes())
def test_no_wrong_verdict_in_20_000_cases(compiled, recipe):
    assert not list(flaws(recipe))


REGRESSIONS = {
    # A slope of 1e12 beside a Q near one: a direction that Q feels passed for one without end.
    "steep, and bounded by a small curvature": hostile.Recipe(
        Form(12, 3, 1, "upper", rank=2), "nearly_unbounded", seed=9645, slope=12
    ),
    # Eigenvalues of -0.2 and more, of variables that the scaling of A had made tiny, were SOLVED.
    "indefinite where A is large": hostile.Recipe(
        Form(10, 0, 1, "upper", "upper", rank=5),
        "nearly_infeasible",
        seed=5,
        spoils=("indefinite", "indefinite"),
        units={"equalities": (12, 6)},
    ),
    # x'Qx is a sum of numbers around 1e17: the gap was noise, and up to 5 times the tolerance.
    "much cancels in the gap": hostile.Recipe(
        Form(11, 13, 1, "mixed", "lower", rank=11),
        seed=2917183,
        slope=9,
        traits=("sparse", "nothing", "fixed", "dependent_rows", "zero_rows", "duplicate_rows"),
    ),
}


@pytest.mark.parametrize("name", REGRESSIONS)
def test_no_wrong_verdict_where_there_was_one(compiled, name):
    assert not list(flaws(REGRESSIONS[name]))


# ---- arguments that are no QP --------------------------------------------------------------------


NAMES = ["Q", "q", "G", "h", "A", "b", "lb", "ub", "h_lower"]
VALUES = [None, 0, 1.5, np.nan, True, "Q", [], [[]], [[1.0], [2.0, 3.0]], {}, object(), 1j, 10**30]
MUTATIONS = {
    "transposed": lambda v: v.swapaxes(-1, -2) if v.ndim > 1 else v[:, None],
    "first axis dropped": lambda v: v[0],
    "longer": lambda v: np.concatenate([v, v], axis=-1),
    "empty": lambda v: v[..., :0],
    "no batch": lambda v: v[:0],
    "another axis": lambda v: v[None],
    "last axis of one": lambda v: v[..., :1],
    "half precision": lambda v: v.astype(np.float16),
    "long double": lambda v: v.astype(np.longdouble),
    "integers": lambda v: v.astype(int),
    "complex": lambda v: v.astype(complex),
    "objects": lambda v: v.astype(object),
    "swapped bytes": lambda v: v.astype(v.dtype.newbyteorder()),
    "masked": lambda v: np.ma.array(v, mask=v > 0),
    "list": lambda v: v.tolist(),
}


@settings(fuzz(4_000), deadline=DEADLINE)
@given(
    changes=st.dictionaries(
        st.sampled_from(NAMES),
        st.one_of(st.sampled_from(list(MUTATIONS)), st.integers(0, len(VALUES) - 1)),
        min_size=1,
        max_size=3,
    ),
    dtype=st.sampled_from([np.float64, np.float32]),
    batch=st.booleans(),
)
def test_arguments_that_are_no_qp_raise_problem_errors(compiled, changes, dtype, batch):
    """Either solve makes sense of them, or it says in its own words that it cannot."""
    data = hostile.solvable(hostile.Recipe(Form(3, 3, 3, "both", "both"), count=3))
    data = {name: (v if batch else v[0]).astype(dtype) for name, v in data.items()}
    for name, change in changes.items():
        data[name] = MUTATIONS[change](data[name]) if isinstance(change, str) else VALUES[change]
    with contextlib.suppress(QPError):
        solve(**data, throw=False)

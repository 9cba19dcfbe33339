"""Problem.parse: shapes, dtypes, sharing, and a helpful answer to whatever is no QP."""

import numpy as np
import pytest

from qpcore import Problem, ProblemError

N, M, P, B = 4, 3, 2, 5
NAMES = ("Q", "q", "G", "h", "A", "b", "lb", "ub", "h_lower")
CORES = {
    "Q": (N, N), "q": (N,), "G": (M, N), "h": (M,), "A": (P, N), "b": (P,), "lb": (N,), "ub": (N,),
    "h_lower": (M,),
}  # fmt: skip


def arguments(lead=(), dtype=np.float64, **changes):
    """All nine arguments of this batch shape, some of them changed; the values do not matter."""
    rng = np.random.default_rng(0)
    full = {name: rng.normal(size=lead + core).astype(dtype) for name, core in CORES.items()}
    return full | changes


def present(problem):
    return [name for name in NAMES if getattr(problem, name) is not None]


# ---- sizes, batch shape, what the caller gave ----------------------------------------------------


@pytest.mark.parametrize("lead", [(), (B,), (1,), (2, 3), (0,), (2, 0, 3)])
def test_sizes_and_batch_shape(lead):
    problem = Problem.parse(**arguments(lead))
    assert (problem.n, problem.m, problem.p) == (N, M, P)
    assert problem.batch_shape == lead
    assert problem.batch_size == np.prod(lead, dtype=int)
    assert problem.given_shapes == {name: lead + core for name, core in CORES.items()}


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        ({"q": (B,)}, (B,)),
        ({"Q": (B,), "q": (1,), "h": (B,)}, (B,)),
        ({"Q": (2, 1), "q": (3,)}, (2, 3)),
        ({"G": (2, 1, 1), "A": (3, 1), "ub": (4,)}, (2, 3, 4)),
        ({"lb": (0,), "ub": (1,)}, (0,)),
    ],
)
def test_batch_axes_broadcast(leads, expected):
    changes = {name: np.ones(lead + CORES[name]) for name, lead in leads.items()}
    assert Problem.parse(**arguments(**changes)).batch_shape == expected


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, "Q q"),
        ({"G": np.ones((M, N)), "h": np.ones(M)}, "Q q G h"),
        ({"G": np.ones((M, N)), "h_lower": np.ones(M)}, "Q q G h_lower"),
        ({"A": np.ones((P, N)), "b": np.ones(P)}, "Q q A b"),
        ({"ub": np.ones(N)}, "Q q ub"),
        ({"G": np.ones((0, N))}, "Q q"),
        ({"G": np.ones((0, N)), "h": np.ones(0), "h_lower": -np.inf}, "Q q"),
        ({"A": np.ones((B, 0, N)), "b": np.ones((B, 0))}, "Q q"),
        ({"h": np.ones(0), "b": np.ones(0)}, "Q q"),
    ],
)
def test_absent_blocks(given, kept):
    problem = Problem.parse(np.eye(N), np.ones(N), **given)
    assert present(problem) == kept.split()
    assert list(problem.given_shapes) == kept.split()
    assert problem.m == M * ("G" in kept)
    assert problem.p == P * ("A" in kept)


def test_zero_rows_still_have_a_batch():
    problem = Problem.parse(np.eye(N), np.ones(N), A=np.ones((B, 0, N)), b=np.ones((B, 0)))
    assert problem.batch_shape == (B,)


@pytest.mark.parametrize("number", [0.5, 2, np.float64(0.5), np.array(0.5)])
@pytest.mark.parametrize("name", ["h", "h_lower", "lb", "ub"])
def test_one_number_limits_all_entries(name, number):
    problem = Problem.parse(**arguments((B,), **{name: number}))
    np.testing.assert_array_equal(getattr(problem, name), np.full(CORES[name], number))
    assert problem.given_shapes[name] == ()


# ---- compact storage -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_right_arrays_are_not_copied(name, dtype):
    given = arguments((B,), dtype)
    stored = getattr(Problem.parse(**given), name)
    assert np.shares_memory(stored, given[name])
    assert stored.shape == given[name].shape


@pytest.mark.parametrize(
    ("lead", "stored"),
    [((), ()), ((1,), (1,)), ((B, 1), (B, 1)), ((1, B), (1, B)), ((1, 1), (1, 1))],
)
@pytest.mark.parametrize("name", NAMES)
def test_expanded_axes_stay_compact(name, lead, stored):
    base = np.ones(lead + CORES[name])
    expanded = np.broadcast_to(base, (B, B, *CORES[name]))
    problem = Problem.parse(**arguments(**{name: expanded}))
    array = getattr(problem, name)
    assert np.shares_memory(array, base)
    assert array.size == base.size
    assert problem.batch_shape == (B, B)
    assert problem.given_shapes[name] == expanded.shape


def awkward(form, array):
    """The same numbers in a memory layout that no kernel wants."""
    if form == "Fortran":
        return np.asfortranarray(array)
    if form == "every other":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if form == "big-endian":
        return array.astype(">f8")
    unaligned = np.zeros(array.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(array.shape)
    unaligned[...] = array
    return unaligned


@pytest.mark.parametrize("form", ["Fortran", "every other", "big-endian", "unaligned"])
def test_stored_arrays_are_plain(form):
    given = arguments((B,))
    problem = Problem.parse(**{name: awkward(form, array) for name, array in given.items()})
    for name in NAMES:
        stored = getattr(problem, name)
        np.testing.assert_array_equal(stored, given[name])
        assert stored.flags.c_contiguous
        assert stored.flags.aligned
        assert stored.dtype.isnative


def test_stored_arrays_are_read_only_and_the_callers_are_not():
    given = arguments((B,))
    problem = Problem.parse(**given)
    for name in NAMES:
        assert not getattr(problem, name).flags.writeable
        assert given[name].flags.writeable


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lead", [(), (3,), (2, 1), (1, 1), (2, 3)])
def test_rows_and_index_rebuild_every_problem(name, lead):
    given = arguments(q=np.ones((2, 3, N)))
    given[name] = np.random.default_rng(1).normal(size=lead + CORES[name])
    problem = Problem.parse(**given)
    rows, index = problem.compact(name), problem.index(name)
    batch = problem.batch_shape
    assert rows.shape == (np.prod(lead, dtype=int), *CORES[name])
    assert np.shares_memory(rows, given[name])
    assert index.dtype == np.int64
    expected = np.broadcast_to(given[name], batch + CORES[name])
    np.testing.assert_array_equal(rows[index].reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("G", np.ones((0, N))),
        ("h", np.ones(0)),
        ("h_lower", np.ones(0)),
        ("A", np.ones((0, N))),
        ("b", np.ones(0)),
        ("lb", np.full(N, -np.inf)),
        ("ub", np.full(N, np.inf)),
    ],
)
def test_absent_argument_has_a_row_that_says_so(name, row):
    problem = Problem.parse(np.eye(N), np.ones((B, N)))
    np.testing.assert_array_equal(problem.compact(name), row[None])
    np.testing.assert_array_equal(problem.index(name), np.zeros(B))


def test_absent_limit_of_present_rows_is_infinite():
    problem = Problem.parse(np.eye(N), np.ones(N), np.ones((M, N)), h_lower=np.ones(M))
    np.testing.assert_array_equal(problem.compact("h"), np.full((1, M), np.inf))


# ---- dtype and kinds of arrays -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("Q", "q", "lb", "expected"),
    [
        (np.float64, np.float64, None, np.float64),
        (np.float32, np.float32, None, np.float32),
        (np.float32, np.float64, None, np.float64),
        (np.int64, np.float32, None, np.float32),
        (np.int8, bool, None, np.float64),
        (np.float32, np.float32, 0.0, np.float32),
        (np.float32, np.float32, 0, np.float32),
        (np.float32, np.float32, np.float64(0), np.float64),
        (int, int, 0.5, np.float64),
    ],
)
def test_common_dtype(Q, q, lb, expected):
    problem = Problem.parse(np.eye(N, dtype=Q), np.ones(N, q), lb=lb)
    assert problem.dtype == expected
    assert {getattr(problem, name).dtype for name in present(problem)} == {np.dtype(expected)}


def test_limit_beyond_float32_becomes_no_limit():
    problem = Problem.parse(np.eye(N, dtype=np.float32), np.ones(N, np.float32), ub=1e300)
    assert np.isinf(problem.compact("ub")).all()


def test_lists_are_arrays():
    problem = Problem.parse([[2, 0], [0, 2]], [1.0, 2.0], lb=[0, 0])
    np.testing.assert_array_equal(problem.Q, 2 * np.eye(2))
    assert problem.dtype == np.float64


def test_dlpack_arrays_are_viewed():
    torch = pytest.importorskip("torch")
    Q = torch.eye(N, dtype=torch.float32).expand(B, N, N)
    q = torch.ones(B, N)
    problem = Problem.parse(Q, q)
    assert problem.dtype == np.float32
    assert problem.Q.shape == (1, N, N)
    assert problem.given_shapes["Q"] == (B, N, N)
    assert np.shares_memory(problem.q, q.numpy())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_are_no_error(name, value):
    Problem.parse(**arguments((B,), **{name: np.full((B, *CORES[name]), value)}))


# ---- complaints ----------------------------------------------------------------------------------


class ElsewhereArray:
    """An array on a GPU, as far as DLPack tells."""

    def __dlpack__(self):
        raise AssertionError("asked for data before the device")

    def __dlpack_device__(self):
        return (2, 0)


BAD = {
    "Q missing": ({"Q": None}, ["Q is None"]),
    "q missing": ({"q": None}, ["q is None", "zeros"]),
    "Q a vector": ({"Q": np.ones(N)}, ["Q has shape (4,)", "(*, n, n)", "np.diag"]),
    "Q a number": ({"Q": 1.0}, ["Q has shape ()"]),
    "Q not square": ({"Q": np.ones((N, 3))}, ["Q has shape (4, 3)", "(*, n, n)", "L @ L.T"]),
    "n zero": ({"Q": np.ones((0, 0))}, ["Q has shape (0, 0)", "n >= 1"]),
    "q a number": ({"q": 0.0}, ["q has shape ()", "(*, 4)"]),
    "q a column": ({"q": np.ones((N, 1))}, ["q has shape (4, 1)", "q[..., 0]"]),
    "q too short": ({"q": np.ones(3)}, ["q has shape (3,)", "(*, 4)", "Q says n = 4"]),
    "G a row": ({"G": np.ones(N)}, ["G has shape (4,)", "(*, m, n)", "v[None, :]"]),
    "G transposed": ({"G": np.ones((N, M))}, ["G has shape (4, 3)", "swapaxes"]),
    "h too long": ({"h": np.ones(7)}, ["h has shape (7,)", "(*, 3)", "G says m = 3"]),
    "h of length 1": ({"h": np.ones(1)}, ["h has shape (1,)", "plain float"]),
    "h_lower too long": ({"h_lower": np.ones(7)}, ["h_lower has shape (7,)", "(*, 3)"]),
    "h without rows": ({"h": np.ones(0)}, ["h has shape (0,)", "(*, 3)"]),
    "A too wide": ({"A": np.ones((P, 7))}, ["A has shape (2, 7)", "(*, 2, 4)"]),
    "b a number": ({"b": 1.0}, ["b has shape ()", "(*, 2)"]),
    "lb of length 1": ({"lb": np.zeros(1)}, ["lb has shape (1,)", "(*, 4)", "plain float"]),
    "ub of another n": ({"ub": np.zeros(3)}, ["ub has shape (3,)", "(*, 4)"]),
    "h without G": ({"G": None, "h_lower": None}, ["h has shape (3,)", "G came as", "lb and ub"]),
    "h_lower without G": ({"G": None, "h": None}, ["h_lower has shape (3,)", "G came as None"]),
    "number without G": ({"G": None, "h": 1.0, "h_lower": None}, ["h has shape ()", "G came as"]),
    "G without limits": ({"h": None, "h_lower": None}, ["G has shape (3, 4)", "h and h_lower"]),
    "A without b": ({"b": None}, ["A has shape (2, 4)", "b came as None"]),
    "b without A": ({"A": None}, ["b has shape (2,)", "A came as None"]),
    "h but no rows": ({"G": np.ones((0, N)), "h_lower": None}, ["h has shape (3,)", "m = 0"]),
    "two batches": (
        {"q": np.ones((5, N)), "G": np.ones((6, M, N)), "lb": np.ones((1, N))},
        ["q (5,)", "G (6,)", "lb (1,)", "do not broadcast"],
    ),
    "two batches of nothing": (
        {"q": np.ones((5, N)), "A": np.ones((6, 0, N)), "b": None},
        ["q (5,)", "A (6,)"],
    ),
    "half precision": ({"Q": np.eye(N, dtype=np.float16)}, ["Q has dtype float16", "astype"]),
    "extended": ({"q": np.ones(N, np.longdouble)}, ["q has dtype", "float64 or float32"]),
    "complex": ({"b": np.ones(P, complex)}, ["b has dtype complex128", ".real"]),
    "objects": ({"lb": [None] * N}, ["lb has dtype object", "None inside a list"]),
    "text": ({"ub": "inf"}, ["ub has dtype", "wrong place"]),
    "dates": ({"h": np.zeros(M, "M8[s]")}, ["h has dtype datetime64"]),
    "ragged": ({"Q": [[1.0], [1.0, 2.0]]}, ["Q is a list", "unequal length"]),
    "another device": ({"G": ElsewhereArray()}, ["G is a ElsewhereArray", "device type 2", "CPU"]),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_complaint_says_what_came_and_what_was_expected(changes, words):
    if np.dtype(np.longdouble).itemsize == 8 and "q has dtype" in words:
        pytest.skip("longdouble is float64 on this platform")
    with pytest.raises(ProblemError, match=r"expected|Expected") as caught:
        Problem.parse(**arguments(**changes))
    for word in words:
        assert word in str(caught.value)


def test_tensor_that_needs_a_gradient_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(ProblemError, match="detach"):
        Problem.parse(torch.eye(N, requires_grad=True), torch.ones(N))


def test_complaints_are_value_errors():
    with pytest.raises(ValueError, match="Q is None"):
        Problem.parse(None, None)

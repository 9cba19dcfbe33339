"""Every legal shape: absent blocks, batch axes, broadcasting, shared and odd arrays."""

import numpy as np
import pytest
from checks import answers, assert_answers, assert_solved
from oracle import batch_shape, interior_point
from problems import Form, known

from qpcore import solve

RNG = np.random.default_rng(0)
EYE = np.eye(3)
Q = EYE + 0.1
G, A = RNG.standard_normal((4, 3)), RNG.standard_normal((1, 3))
q, h, b = -np.arange(1.0, 4), np.full(4, 0.5), np.array([0.1])
NO_ROWS = np.zeros((0, 3))

SHAPES = {
    "one variable": {"Q": [[2.0]], "q": [-4.0], "ub": [1.0]},
    "one variable, one row, one equality": {
        "Q": [[1.0]], "q": [0.0], "G": [[1.0]], "h": [1.0], "A": [[2.0]], "b": [1.0],
    },
    "no constraints": {"Q": Q, "q": q},
    "rows only": {"Q": Q, "q": q, "G": G, "h": h},
    "lower rows only": {"Q": Q, "q": q, "G": -G, "h_lower": -h},
    "equalities only": {"Q": Q, "q": q, "A": A, "b": b},
    "as many equalities as variables": {"Q": Q, "q": q, "A": EYE, "b": [1.0, 2, 3]},
    "bounds only": {"Q": Q, "q": q, "lb": np.zeros(3), "ub": np.ones(3)},
    "lower bound only": {"Q": Q, "q": -q, "lb": np.zeros(3)},
    "upper bound only": {"Q": Q, "q": q, "ub": np.ones(3)},
    "blocks of no rows": {
        "Q": Q, "q": q, "G": NO_ROWS, "h": np.zeros(0), "A": NO_ROWS, "b": np.zeros(0),
    },
    "limits by one number": {"Q": Q, "q": q, "G": G, "h": 0.5, "h_lower": -9.0, "lb": 0.0, "ub": 1},
    "lists and integers": {"Q": [[2, 0], [0, 2]], "q": [-2, -6], "G": [[1, 1]], "h": [2]},
    "two batch axes": {"Q": Q, "q": RNG.standard_normal((2, 3, 3)), "G": G, "h": h},
    "axes that broadcast": {
        "Q": Q * np.array([1.0, 2]).reshape(2, 1, 1, 1), "q": RNG.standard_normal((4, 3)),
        "G": G, "h": h + RNG.random((2, 4, 4)), "lb": np.full((4, 3), -1.0),
    },
    "axis of one": {"Q": Q[None], "q": q, "G": G, "h": h},
    "only the limits differ": {"Q": Q, "q": q, "G": G, "h": h * np.arange(1.0, 10)[:, None]},
    "only the rows differ": {"Q": Q, "q": q, "G": G * np.arange(1.0, 10)[:, None, None], "h": h},
    "only Q differs": {"Q": Q * np.arange(1.0, 10)[:, None, None], "q": q, "A": A, "b": b},
    "only the equalities differ": {"Q": Q, "q": q, "A": RNG.random((9, 1, 3)), "b": b, "lb": -1.0},
    "only the bounds differ": {"Q": Q, "q": q, "lb": -RNG.random((9, 3)), "ub": RNG.random((9, 3))},
    "more rows than a tile": {
        "Q": np.eye(5), "q": np.ones(5), "G": RNG.standard_normal((33, 5)), "h": np.ones(33),
    },
}  # fmt: skip


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES)
def test_shape(data):
    solution = solve(**data)
    batch, n = batch_shape(data), np.shape(data["Q"])[-1]
    m, p = (np.shape(data.get(name, NO_ROWS))[-2] for name in "GA")
    assert solution.x.shape == solution.z_box.shape == (*batch, n)
    assert solution.z.shape == (*batch, m)
    assert solution.y.shape == (*batch, p)
    assert solution.status.shape == solution.iterations.shape == batch
    assert solution.objective().shape == solution.duality_gap().shape == batch
    assert_solved(solution, data, 1e-8)
    for _, problem, found in answers(solution, data):
        expected = interior_point(problem)
        np.testing.assert_allclose(found.x, expected.x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [(0,), (0, 3), (2, 0)], ids=str)
def test_empty_batch(batch):
    form = Form(4, 3, 1, box="both")
    data = {k: np.zeros((*batch, *np.shape(v))) for k, v in known(form, 1).data.items()}
    solution = solve(**data)
    assert solution.x.shape == (*batch, 4)
    assert solution.z.shape == (*batch, 3)
    assert solution.y.shape == (*batch, 1)
    assert solution.status.shape == batch


@pytest.mark.parametrize("shared", ["Q", "G", "A", "QG", "QGA"])
def test_shared_arguments(shared):
    problems = known(Form(6, 8, 2, rows="both", box="both"), 2, (19,), tuple(shared))
    assert all(problems.data[name].ndim == 2 for name in shared)
    solution = solve(**problems.data)
    assert_solved(solution, problems.data, 1e-8)
    assert_answers(solution, problems, 1e-8)


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every second entry": lambda v: np.repeat(v, 2, axis=-1)[..., ::2],
    "reversed": lambda v: v[..., ::-1].copy()[..., ::-1],
    "read only": lambda v: np.frombuffer(v.tobytes()).reshape(v.shape),
    "unaligned": lambda v: np.frombuffer(b"." + v.tobytes(), offset=1).reshape(v.shape),
    "other byte order": lambda v: v.astype(v.dtype.newbyteorder()),
    "expanded": lambda v: np.broadcast_to(v, (5, *v.shape)),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_memory_layout_does_not_matter(layout):
    problems = known(Form(6, 8, 2, rows="both", box="both"), 3)
    plain, other = solve(**problems.data), solve(**{k: layout(v) for k, v in problems.data.items()})
    for name in ("x", "z", "y", "z_box"):
        found, expected = getattr(other, name), getattr(plain, name)
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-9)


def test_arguments_are_left_as_they_were():
    data = known(Form(6, 8, 2, rows="mixed", box="mixed"), 4, (9,)).data
    before = {name: value.copy() for name, value in data.items()}
    solve(**data)
    for name, value in data.items():
        np.testing.assert_array_equal(value, before[name])

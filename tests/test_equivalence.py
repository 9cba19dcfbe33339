"""One problem posed in several ways has one answer."""

import numpy as np
import pytest
from checks import assert_answers, assert_solved
from oracle import Point
from problems import Form, known

from qpcore import solve

FULL = Form(6, 9, 2, rows="both", box="both")
MIXED = Form(7, 10, 2, rows="mixed", box="mixed", fixed=1)
FLAT = Form(6, 9, 1, rows="both", box="both", rank=3)
RNG = np.random.default_rng(0)


def columns(matrix):
    """Transpose the last two axes."""
    return np.swapaxes(matrix, -1, -2)


def as_it_is(d):
    return d, lambda x, z, y, z_box: (x, z, y, z_box)


def rows_scaled(d):
    s, t = np.logspace(-2, 2, d["h"].shape[-1]), np.logspace(1, -1, d["b"].shape[-1])
    rows = {"G": s[:, None] * d["G"], "h": s * d["h"], "h_lower": s * d["h_lower"]}
    rows |= {"A": t[:, None] * d["A"], "b": t * d["b"]}
    return d | rows, lambda x, z, y, z_box: (x, z * s, y * t, z_box)


def rows_negated(d):
    rows = {"G": -d["G"], "h": -d["h_lower"], "h_lower": -d["h"], "A": -d["A"], "b": -d["b"]}
    return d | rows, lambda x, z, y, z_box: (x, -z, -y, z_box)


def rows_permuted(d):
    order, back = permutation(d["h"].shape[-1])
    rows = {name: d[name][..., order] for name in ("h", "h_lower")}
    return d | rows | {"G": d["G"][..., order, :]}, lambda x, z, y, z_box: (
        x, z[..., back], y, z_box
    )  # fmt: skip


def variables_permuted(d):
    order, back = permutation(d["q"].shape[-1])
    moved = {name: d[name][..., order] for name in ("q", "G", "A", "lb", "ub")}
    moved["Q"] = d["Q"][..., order, :][..., order]
    return d | moved, lambda x, z, y, z_box: (x[..., back], z, y, z_box[..., back])


def permutation(size):
    order = RNG.permutation(size)
    return order, np.argsort(order)


def objective_scaled(d):
    return d | {"Q": 50 * d["Q"], "q": 50 * d["q"]}, lambda x, *duals: (x, *(u / 50 for u in duals))


def variables_scaled(d):
    s = np.logspace(-1, 1, d["q"].shape[-1])
    scaled = {"Q": s[:, None] * d["Q"] * s, "lb": d["lb"] / s, "ub": d["ub"] / s}
    scaled |= {name: d[name] * s for name in ("q", "G", "A")}
    return d | scaled, lambda x, z, y, z_box: (x * s, z, y, z_box / s)


def variables_shifted(d):
    s = np.arange(d["q"].shape[-1])
    shifted = {"q": d["q"] - d["Q"] @ s, "lb": d["lb"] + s, "ub": d["ub"] + s}
    shifted |= {"h": d["h"] + d["G"] @ s, "h_lower": d["h_lower"] + d["G"] @ s}
    return d | shifted | {"b": d["b"] + d["A"] @ s}, lambda x, *duals: (x - s, *duals)


def equalities_as_two_inequalities(d):
    m, p = d["h"].shape[-1], d["b"].shape[-1]
    G = np.concatenate([d["G"], d["A"], -d["A"]], -2)
    h = np.concatenate([d["h"], d["b"], -d["b"]], -1)
    h_lower = np.concatenate([d["h_lower"], np.full_like(h[..., m:], -np.inf)], -1)
    return without(d, "A", "b") | {"G": G, "h": h, "h_lower": h_lower}, lambda x, z, y, z_box: (
        x, z[..., :m], z[..., m : m + p] - z[..., m + p :], z_box
    )  # fmt: skip


def equalities_as_rows_with_equal_sides(d):
    m = d["h"].shape[-1]
    rows = {"G": np.concatenate([d["G"], d["A"]], -2)}
    rows |= {name: np.concatenate([d[name], d["b"]], -1) for name in ("h", "h_lower")}
    return without(d, "A", "b") | rows, lambda x, z, y, z_box: (
        x, z[..., :m], z[..., m:], z_box
    )  # fmt: skip


def bounds_as_rows(d):
    m, n = d["h"].shape[-1], d["q"].shape[-1]
    identity = np.broadcast_to(np.eye(n), (*d["q"].shape[:-1], n, n))
    rows = {"G": np.concatenate([d["G"], identity], -2)}
    rows["h"] = np.concatenate([d["h"], d["ub"]], -1)
    rows["h_lower"] = np.concatenate([d["h_lower"], d["lb"]], -1)
    return without(d, "lb", "ub") | rows, lambda x, z, y, z_box: (x, z[..., :m], y, z[..., m:])


def two_sided_rows_as_one_sided(d):
    m = d["h"].shape[-1]
    rows = {"G": np.concatenate([d["G"], -d["G"]], -2)}
    rows["h"] = np.concatenate([d["h"], -d["h_lower"]], -1)
    return without(d, "h_lower") | rows, lambda x, z, y, z_box: (
        x, z[..., :m] - z[..., m:], y, z_box
    )  # fmt: skip


def infinity_by_a_large_number(d):
    sides = {name: np.clip(d[name], -3e20, 3e20) for name in ("h", "h_lower", "lb", "ub")}
    return d | sides, lambda *point: point


def fixed_variables_as_equalities(d):
    """Pose fixed variables as equality rows, their bounds dropped."""
    fixed = np.flatnonzero((d["lb"] == d["ub"]).all(axis=0))
    p, n = d["b"].shape[-1], d["q"].shape[-1]
    rows = np.broadcast_to(np.eye(n)[fixed], (*d["q"].shape[:-1], len(fixed), n))
    posed = {"A": np.concatenate([d["A"], rows], -2)}
    posed["b"] = np.concatenate([d["b"], d["lb"][..., fixed]], -1)
    for name, absent in (("lb", -np.inf), ("ub", np.inf)):
        posed[name] = np.where(np.isin(np.arange(n), fixed), absent, d[name])

    def back(x, z, y, z_box):
        z_box = z_box.copy()
        z_box[..., fixed] = y[..., p:]
        return x, z, y[..., :p], z_box

    return d | posed, back


def useless_rows_added(d):
    m = d["h"].shape[-1]
    rows = {"G": np.concatenate([d["G"], d["G"]], -2)}
    rows["h"] = np.concatenate([d["h"], d["h"] + 5], -1)
    rows["h_lower"] = np.concatenate([d["h_lower"], np.full_like(d["h"], -np.inf)], -1)
    return d | rows, lambda x, z, y, z_box: (x, z[..., :m], y, z_box)


def copies_in_place_of_shared(d):
    count = len(d["q"])
    copies = {
        name: np.repeat(d[name][None], count, 0) if d[name].ndim == 2 else d[name]
        for name in ("Q", "G", "A")
    }
    return d | copies, lambda *point: point


def without(d, *names):
    return {name: value for name, value in d.items() if name not in names}


POSES = [
    as_it_is,
    rows_scaled,
    rows_negated,
    rows_permuted,
    variables_permuted,
    variables_scaled,
    variables_shifted,
    objective_scaled,
    equalities_as_two_inequalities,
    equalities_as_rows_with_equal_sides,
    bounds_as_rows,
    two_sided_rows_as_one_sided,
    infinity_by_a_large_number,
    fixed_variables_as_equalities,
    useless_rows_added,
]


@pytest.mark.parametrize("form", [FULL, MIXED, FLAT], ids=str)
@pytest.mark.parametrize("pose", POSES, ids=lambda pose: pose.__name__)
def test_pose(pose, form):
    problems = known(form, 20, (9,))
    data, back = pose(problems.data)
    solution = solve(**data)
    assert_solved(solution, data, 1e-8)
    found = Point(*back(solution.x, solution.z, solution.y, solution.z_box))
    assert_answers(found, problems, 1e-8)


def test_copies_in_place_of_shared_arguments():
    problems = known(FULL, 21, (9,), ("Q", "G", "A"))
    data, _ = copies_in_place_of_shared(problems.data)
    assert data["Q"].ndim == problems.data["Q"].ndim + 1
    assert_answers(solve(**data), problems, 1e-8)


def test_position_in_the_batch():
    problems = known(FULL, 22, (9,))
    forwards = solve(**problems.data)
    backwards = solve(**{name: value[::-1] for name, value in problems.data.items()})
    for name in Point._fields:
        np.testing.assert_array_equal(getattr(backwards, name)[::-1], getattr(forwards, name))

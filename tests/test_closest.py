"""Infeasible problems answered by the closest feasible one."""

from dataclasses import replace

import numpy as np
import pytest
from checks import assert_certificate
from clashing import CASES, CLOSEST, TIGHT, answer_of, assert_closest, mixed
from oracle import Point, full, one
from problems import Form, known
from pullback import random_cotangent
from rays import infeasible

import qpcore.closest
from qpcore import Settings, SettingsError, SolveError, Status, Untrusted, solve, vjp


@pytest.mark.parametrize("name", CASES)
def test_x_is_optimal_once_limits_moved_by_the_least_shift(name):
    data = CASES[name]
    assert solve(**data, throw=False).status == Status.PRIMAL_INFEASIBLE
    solution = solve(**data, settings=CLOSEST)
    assert solution.status == Status.PRIMAL_INFEASIBLE
    assert solution.closest
    assert_closest(data, Point(solution.x, solution.z, solution.y, solution.z_box))
    assert solution.primal_residual() > 1e-3
    assert solution.dual_residual() < 1e-7
    assert np.isfinite(solution.objective())


@pytest.mark.parametrize("seed", range(6))
def test_every_proved_infeasible_problem_gets_its_closest(seed):
    form = Form(9 - seed, 3 + 2 * seed, seed % 3, rows="mixed", box=("none", "mixed")[seed % 2])
    data = {k: np.asarray(v, float) for k, v in infeasible(form, seed, 20, 0.1).data.items()}
    solution = solve(**data, settings=CLOSEST, throw=False)
    trust = vjp(solution, dx=np.ones_like(solution.x), wanted=["q"]).trust
    assert solution.closest.all()
    assert trust.trusted.sum() >= 15
    for k in np.flatnonzero(trust.trusted):
        assert_closest(one(data, (k,)), answer_of(solution, k), 1e-5)


def test_infeasible_problems_leave_the_others_as_they_are():
    data = mixed()
    plain = solve(**data, throw=False)
    found = solve(**data, settings=CLOSEST)
    assert found.closest.tolist() == [False, True, True, True, False]
    assert (found.status == plain.status).all()
    for part in Point._fields:
        for k in (0, 4):
            assert getattr(found, part)[k].tobytes() == getattr(plain, part)[k].tobytes()
    for k in (1, 2, 3):
        assert_closest(one(data, (k,)), answer_of(found, k))


def test_single_precision_finds_the_same():
    for name, data in CASES.items():
        single = {k: v.astype(np.float32) for k, v in data.items()}
        found = solve(**single, settings=CLOSEST)
        expected = solve(**{k: v.astype(float) for k, v in single.items()}, settings=CLOSEST)
        assert found.x.dtype == np.float32
        assert found.closest, name
        for part in Point._fields:
            a, b = getattr(found, part), getattr(expected, part)
            np.testing.assert_allclose(a, b, atol=2e-4 * (1 + np.abs(b).max(initial=0)))
        ones = vjp(found, dx=np.ones_like(found.x), wanted=["h"]) if "h" in data else None
        assert ones is None or ones.h.dtype == np.float32


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_unit_of_the_limits_does_not_matter(scale):
    data = CASES["slabs_apart"]
    moved = ("q", "h", "h_lower", "b")
    scaled = data | {k: scale * data[k] for k in moved}
    found, base = (solve(**d, settings=TIGHT) for d in (scaled, data))
    # a tolerance of 1e-12 is absolute: the smaller problem is solved to eight digits, x to less
    np.testing.assert_allclose(found.x, scale * base.x, rtol=0, atol=1e-5 * scale)


def test_far_limits_do_not_blur_the_shift():
    data = CASES["row_against_bounds"]
    far = data | {"ub": np.where(np.arange(5) == 3, 1e9, data["ub"])}
    none = data | {"ub": np.where(np.arange(5) == 3, 1e300, data["ub"]), "h_lower": [1e25, -1e25]}
    found, dropped, base = (solve(**d, settings=CLOSEST).x for d in (far, none, data))
    np.testing.assert_allclose(found, base, atol=1e-6)
    np.testing.assert_allclose(dropped, base, atol=1e-6)


def test_feasible_problems_are_not_touched():
    data = known(Form(4, 5, 1, rows="both", box="both"), 13, (3,)).data
    plain, found = solve(**data), solve(**data, settings=CLOSEST)
    for part in (*Point._fields, "status", "iterations"):
        assert getattr(plain, part).tobytes() == getattr(found, part).tobytes()
    cotangent = random_cotangent(answer_of(plain), 14)
    assert vjp(plain, *cotangent).Q.tobytes() == vjp(found, *cotangent).Q.tobytes()


def test_a_row_of_zeros_gives_way_and_leaves_x_alone():
    data = {"Q": np.eye(2), "q": [1.0, -2], "G": [[0.0, 0], [1, 1]], "h": [-1.0, 0.5]}
    solution = solve(**data, settings=CLOSEST)
    rest = solve(data["Q"], data["q"], [[1.0, 1]], [0.5])
    np.testing.assert_allclose(solution.x, rest.x, atol=1e-9)
    np.testing.assert_allclose(solution.z, [0, rest.z[0]], atol=1e-9)
    gradients, expected = (vjp(s, dx=np.ones(2), wanted=["q"]) for s in (solution, rest))
    np.testing.assert_allclose(gradients.q, expected.q, atol=1e-9)


def test_parts_of_a_large_batch_are_its_answer(monkeypatch):
    whole = solve(**mixed(), settings=CLOSEST)
    dx = np.ones_like(whole.x)
    gradients = vjp(whole, dx=dx)
    monkeypatch.setattr(qpcore.closest, "AT_A_TIME", 1)
    parts = solve(**mixed(), settings=CLOSEST)
    for name in Point._fields:
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)
    np.testing.assert_allclose(vjp(parts, dx=dx).G, gradients.G, atol=1e-12)


def test_without_a_minimiser_the_certificate_stays():
    data = {"Q": np.zeros((2, 2)), "q": [0.0, 1], "lb": [1.0, -np.inf], "ub": [0.0, np.inf]}
    with pytest.raises(SolveError, match="PRIMAL_INFEASIBLE"):
        solve(**data, settings=CLOSEST)
    found = solve(**data, settings=CLOSEST, throw=False)
    assert not found.closest
    assert np.isnan(found.x).all()
    assert np.abs(found.z_box).max() == 1
    assert np.isnan(vjp(found, dx=np.ones(2)).q).all()


def test_the_shift_is_the_certificate():
    """Scaled to norm 1, what x violates passes for the ray that the solver would have given."""
    for name, data in CASES.items():
        solution = solve(**data, settings=CLOSEST)
        d, x = full(data), solution.x
        parts = (d["G"] @ x, d["h"], d["h_lower"]), (x, d["ub"], d["lb"])
        z, z_box = (np.maximum(v - u, 0) - np.maximum(w - v, 0) for v, u, w in parts)
        y = d["A"] @ x - d["b"]
        if name != "crossed_limits":  # whose violations of both sides cancel
            size = max(np.abs(part).max(initial=0) for part in (z, y, z_box))
            z, y, z_box = (np.where(np.abs(v) > 1e-7, v, 0) / size for v in (z, y, z_box))
            assert_certificate(data, replace(solution, x=x * np.nan, z=z, y=y, z_box=z_box), ())


def test_trace_and_summary_know_of_it():
    settings = Settings(infeasible="closest", trace=True)
    solution = solve(**mixed(), settings=settings)
    assert "answered by the closest  3" in solution.summary()
    assert solution.trace.mu.shape[-1] == solution.iterations.max() + 1
    assert "closest feasible" in solve(**CASES["slabs_apart"], settings=settings).summary()


@pytest.mark.parametrize("bad", [None, True, "nearest"])
def test_settings_know_two_ways(bad):
    with pytest.raises(SettingsError, match="infeasible"):
        Settings(infeasible=bad)


def test_smooth_does_not_go_with_it():
    with pytest.raises(SettingsError, match="untrusted"):
        Settings(infeasible="closest", untrusted=Untrusted.SMOOTH)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the layer's own code
@pytest.mark.parametrize("name", CASES)
def test_qplayer_finds_the_same_x(name):
    pytest.importorskip("proxsuite", reason="needs proxsuite: pip install proxsuite")
    torch = pytest.importorskip("torch", reason="QPLayer needs PyTorch")
    from proxsuite.torch.qplayer import QPFunction

    d, n = full(CASES[name]), len(CASES[name]["q"])
    rows = [d["G"], np.eye(n)]
    lower = np.concatenate([d["h_lower"], d["lb"]]).clip(-1e6)
    upper = np.concatenate([d["h"], d["ub"]]).clip(None, 1e6)
    data = (d["Q"], d["q"], d["A"], d["b"], np.concatenate(rows), lower, upper)
    if not len(d["b"]):  # QPLayer reads equations that are not there
        data = (*data[:2], np.zeros((1, n)), np.zeros(1), *data[4:])
    layer = QPFunction(structural_feasibility=False, maxIter=10000, eps=1e-9)
    x = layer(*(torch.from_numpy(np.array(part)) for part in data))[0][0]
    np.testing.assert_allclose(solve(**CASES[name], settings=CLOSEST).x, x, atol=1e-5)

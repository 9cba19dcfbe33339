"""Gradients of ill-conditioned problems, and what their certificate says of the error."""

from functools import cache

import numpy as np
from oracle import Point, active_system, exact_solution
from problems import Form, _draw, _matrices, stack
from pullback import at, random_cotangent
from scipy.linalg import lu_factor, lu_solve

from qpcore import Settings, jvp, solve, vjp

COUNT = 60
HARD = Form(50, 30, 10, box="lower", condition=1e8)


@cache
def hard():
    """Problems with Q of condition 1e8, strictly complementary, not picked by their KKT matrix."""
    rng = np.random.default_rng(260)
    problems = [_draw(HARD, _matrices(HARD, rng), rng) for _ in range(COUNT)]
    solution = solve(**stack([problem.data for problem in problems]))
    return problems, solution


def exact_adjoint(data, active, right):
    """-M⁻¹ right, refined in long double: exact to about 1e-19 times the condition."""
    K, _ = active_system(data, active)
    rows, box = active.rows != 0, active.box != 0
    parts = right.x, right.z[rows], right.y, right.z_box[box]
    rhs, wide = -np.concatenate(parts).astype(np.longdouble), K.astype(np.longdouble)
    factor, u = lu_factor(K), np.zeros(len(rhs), np.longdouble)
    for _ in range(20):
        u += lu_solve(factor, (rhs - wide @ u).astype(float))
    x, z_active, y, box_active = np.split(u.astype(float), np.cumsum([len(p) for p in parts[:-1]]))
    z, z_box = np.zeros(len(rows)), np.zeros(len(box))
    z[rows], z_box[box] = z_active, box_active
    return Point(x, z, y, z_box)


def reference(problem, right):
    """Gradients by (14), from the exact answer and the exact adjoint solution."""
    answer = exact_solution(problem.data, problem.active)
    d = exact_adjoint(problem.data, problem.active, right)
    outer = np.outer
    return {
        "Q": (outer(d.x, answer.x) + outer(answer.x, d.x)) / 2,
        "q": d.x,
        "G": outer(answer.z, d.x) + outer(d.z, answer.x),
        "h": -d.z,
        "A": outer(answer.y, d.x) + outer(d.y, answer.x),
        "b": -d.y,
        "lb": -d.z_box,
    }


def errors(problems, gradients, cotangent):
    """Largest error of each problem over its arguments, beside the largest entry of each."""
    worst = []
    for i, problem in enumerate(problems):
        expected = reference(problem, at(cotangent, i))
        found = {name: getattr(gradients, name)[i] for name in expected}
        each = [
            np.abs(found[name] - exact).max() / np.abs(exact).max()
            for name, exact in expected.items()
            if np.abs(exact).max() > 0
        ]
        worst.append(max(each))
    return np.array(worst)


def test_ill_conditioned_gradients_are_right_and_their_error_is_bounded():
    problems, solution = hard()
    cotangent = random_cotangent(Point(*(getattr(solution, name) for name in Point._fields)), 261)
    gradients = vjp(solution, *cotangent)
    found = errors(problems, gradients, cotangent)
    assert found.max() <= 1e-5, f"{found.max():.1e}"
    assert gradients.trust.trusted.all()
    assert np.mean(gradients.trust.error >= found) >= 0.95
    # A bound that is far too high would say nothing.
    assert np.median(gradients.trust.error) <= 1e-5


def test_the_condition_follows_that_of_the_problem():
    medians = []
    for condition in (1e2, 1e5, 1e8):
        form = Form(20, 8, 2, condition=condition)
        rng = np.random.default_rng(262)
        problems = [_draw(form, _matrices(form, rng), rng) for _ in range(20)]
        solution = solve(**stack([problem.data for problem in problems]))
        medians.append(np.median(vjp(solution, dx=np.ones_like(solution.x)).trust.condition))
    assert medians[0] < medians[1] < medians[2]


def test_forward_mode_has_the_same_certificate():
    _, solution = hard()
    trust = jvp(solution, q=np.ones(HARD.n)).trust
    assert trust.trusted.all()
    assert (trust.error <= 1e-3).all()
    assert trust.margin.shape == solution.status.shape


def test_a_badly_solved_problem_is_not_trusted():
    """A loose tolerance leaves the answer far from the exact one: an error of which it is told."""
    problems, _ = hard()
    data = stack([problem.data for problem in problems[:20]])
    solution = solve(**data, settings=Settings(tol=1e-2))
    cotangent = random_cotangent(Point(*(getattr(solution, name) for name in Point._fields)), 263)
    gradients = vjp(solution, *cotangent)
    found = errors(problems[:20], gradients, cotangent)
    wrong = found > 0.1
    assert wrong.any()
    assert not gradients.trust.trusted[wrong].any()

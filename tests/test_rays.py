"""Infeasible and unbounded problems are recognised and proved, their twins never mistaken for them.

The counts by default are a sample of those of the slow runs, which are the bars of the project:
of 10,000 of each kind at least 99.9 % recognised, every certificate valid, none called SOLVED.
"""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import rays
from checks import SOLVED, answers, assert_certificate, assert_optimal
from oracle import full, one

from qpcore import Status, solve

BATCH = 50
RAYS = (Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE)
KINDS = {
    "infeasible": rays.infeasible,
    "unbounded": rays.unbounded,
    "nearly_infeasible": rays.nearly_infeasible,
    "nearly_unbounded": rays.nearly_unbounded,
}
COUNTS = [1_000, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]


def batches(kind, count, smallest=1e-4):
    """Yield (name, problems) with forms by seed and margins from ``smallest`` to 1."""
    blocked = "infeasible" in kind
    for seed in range(count // BATCH):
        rng = np.random.default_rng([seed, blocked])
        form = rays.draw_form(rng, blocked)
        margin = 10 ** rng.uniform(np.log10(smallest), 0, BATCH)
        yield f"{kind} {form} seed {seed}", KINDS[kind](form, seed, BATCH, margin)


def tally(kind, count, dtype=np.float64, smallest=1e-4, ratio=1e-6):
    """Count statuses, and certificates that do not hold; name the first of all but the proved."""
    counts, named = Counter(), []
    for name, problems in batches(kind, count, smallest):
        data = {key: value.astype(dtype) for key, value in problems.data.items()}
        solution = solve(**data, throw=False)
        for index in range(BATCH):
            verdict, flaw = Status(int(solution.status[index])), ""
            if verdict in RAYS:
                flaw = flaw_of_certificate(data, solution, index, ratio)
            counts["INVALID" if flaw else verdict.name] += 1
            if flaw or verdict not in RAYS:
                named.append(f"{name} [{index}]: {verdict.name} {flaw}")
    return counts, "\n".join([f"{kind}: {dict(counts)}", *sorted(named, key=len)[:10]])


def flaw_of_certificate(data, solution, index, ratio):
    """What is wrong with it, in words; empty if nothing."""
    try:
        assert_certificate(data, solution, (index,), tol=ratio)
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("count", COUNTS, ids=str)
@pytest.mark.parametrize("kind", ["infeasible", "unbounded"])
def test_recognised(kind, count):
    counts, message = tally(kind, count)
    assert counts["SOLVED"] == counts["INVALID"] == 0, message
    assert sum(counts[status.name] for status in RAYS) >= 0.999 * counts.total(), message


@pytest.mark.parametrize("kind", ["infeasible", "unbounded"])
def test_never_wrong_in_float32(kind):
    """float32 rounds the rays themselves: only margins far above that, and no bar for the rate."""
    counts, message = tally(kind, 1_000, np.float32, smallest=0.1, ratio=1e-3)
    assert counts["SOLVED"] == counts["INVALID"] == 0, message


@pytest.mark.parametrize("count", COUNTS, ids=str)
@pytest.mark.parametrize("kind", ["nearly_infeasible", "nearly_unbounded"])
def test_twins_are_not_mistaken(kind, count):
    for name, problems in batches(kind, count):
        solution = solve(**problems.data, throw=False)
        wrong = np.isin(solution.status, RAYS) | (solution.status == Status.NOT_CONVEX)
        assert not wrong.any(), f"{name} {np.flatnonzero(wrong)}: {solution.status[wrong]}"
        for (index,), data, answer in answers(solution, problems.data):
            if solution.status[index] == SOLVED:
                assert_optimal(data, answer, 1e-8, f"{name} [{index}]")


@pytest.mark.parametrize("kind", ["infeasible", "unbounded"])
def test_generated_rays_hold(kind):
    """A residual of 1e-9 beside the margin, far less than the solver's answers are granted."""
    status = Status["PRIMAL_INFEASIBLE" if kind == "infeasible" else "DUAL_INFEASIBLE"]
    for _, problems in batches(kind, 1_000):
        ray = problems.certificate()
        claim = SimpleNamespace(**ray._asdict(), status=np.full(BATCH, status))
        for index in range(BATCH):
            assert_certificate(problems.data, claim, (index,), tol=1e-9)
            if kind == "unbounded":
                assert_feasible(full(one(problems.data, (index,))), problems.x[index])


@pytest.mark.parametrize("kind", ["nearly_infeasible", "nearly_unbounded"])
def test_generated_twins_have_a_solution(kind):
    for _, problems in batches(kind, 1_000):
        for index in range(BATCH):
            d = full(one(problems.data, (index,)))
            x, z, y, z_box = (part[index] for part in (problems.x, *problems.multipliers))
            slope = problems.slope[index]
            assert np.abs(x).sum() + np.abs(z).sum() + np.abs(z_box).sum() < 1e3
            assert np.abs(slope).sum() < 1.1e4
            assert_feasible(d, x)
            gradient = d["Q"] @ slope + d["q"] + d["G"].T @ z + d["A"].T @ y + z_box
            np.testing.assert_allclose(gradient, 0, atol=1e-10)


def assert_feasible(d, x):
    for value, lower, upper in (
        (d["G"] @ x, d["h_lower"], d["h"]),
        (x, d["lb"], d["ub"]),
        (d["A"] @ x, d["b"], d["b"]),
    ):
        assert (value <= upper + 1e-12).all()
        assert (value >= lower - 1e-12).all()

"""The nasty little problems of the shared collection: never a wrong verdict."""

import importlib.util

import numpy as np
import pytest
from checks import assert_certificate, assert_solved

from qpcore import Status, solve

UNDECIDED = {Status.MAX_ITERATIONS, Status.NUMERICAL_ERROR}
FAIR = {
    "optimal": {Status.SOLVED},
    "primal_infeasible": {Status.PRIMAL_INFEASIBLE},
    "dual_infeasible": {Status.DUAL_INFEASIBLE},
    "infeasible_or_unbounded": {Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE},
    "nonconvex": {Status.NOT_CONVEX},
}


@pytest.fixture(scope="module")
def nasty(shared_data):
    """Cases by name: data as solve's arguments, and what is expected."""
    spec = importlib.util.spec_from_file_location("nasty", shared_data / "nasty.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: ({"Q" if k == "P" else k: v for k, v in data.items()}, expected)
        for name, data, expected in module.nasty_cases()
    }


def crossed(data):
    """Bounds that cross: a status without certificate."""
    return (data["lb"] > data["ub"]).any()


def test_no_wrong_verdict(nasty):
    wrong = {}
    for name, (data, expected) in nasty.items():
        status = Status(int(solve(**data, throw=False).status))
        if status not in FAIR[expected["status"]] | UNDECIDED:
            wrong[name] = f"{status.name}, expected {expected['status']}"
    assert not wrong


def test_solved_means_solved(nasty):
    for data, _ in nasty.values():
        solution = solve(**data, throw=False)
        if solution.solved:
            assert_solved(solution, data, 1e-8)


def test_certificates_hold(nasty):
    for data, _ in nasty.values():
        solution = solve(**data, throw=False)
        rays = (Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE)
        if Status(int(solution.status)) in rays and not crossed(data):
            assert_certificate(data, solution, ())


def test_objective_is_right_where_solved(nasty):
    for name, (data, expected) in nasty.items():
        solution = solve(**data, throw=False)
        if solution.solved:
            bound = expected["tol"] * max(1, abs(expected["obj"]))
            error = abs(solution.objective() - expected["obj"])
            assert error <= bound, f"{name}: objective off by {error:.1e}"
        if solution.solved and expected["x_unique"] and expected["x"] is not None:
            error = np.abs(solution.x - expected["x"]).max()
            assert error <= expected["xtol"], f"{name}: x off by {error:.1e}"

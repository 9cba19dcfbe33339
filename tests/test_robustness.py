"""The judge of the robustness comparison knows good answers from bad; its workers outlive them."""

import os
import time

import numpy as np
import pytest

from benchmarks.robustness import __main__ as command
from benchmarks.robustness import judge as judging
from benchmarks.robustness.judge import FALSE, GOOD, INEXACT, OPEN, SHORT, Answer, judge
from benchmarks.robustness.problems import QP, Case, load
from benchmarks.robustness.report import geometric_mean, reached, write
from benchmarks.robustness.results import Run, read, save
from benchmarks.robustness.solvers import Solver
from benchmarks.robustness.table import SOLVERS
from benchmarks.robustness.verdicts import (
    EITHER,
    INFEASIBLE,
    NONCONVEX,
    REFUSED,
    SOLVED,
    UNBOUNDED,
    UNDECIDED,
)
from benchmarks.robustness.worker import Worker, attempt

NONE = np.zeros((0, 2)), np.zeros(0)
FREE = np.full(2, -np.inf), np.full(2, np.inf)
SIMPLE = QP(np.eye(2), np.array([-1.0, -2.0]), np.ones((1, 2)), np.ones(1), *NONE, *FREE)
CASE = Case("set", "name", SIMPLE, "optimal", -1.5)
ANSWER = Answer(SOLVED, np.array([0.0, 1.0]), np.ones(1), np.zeros(0), np.zeros(2), 5)
NAN = np.full(2, np.nan)

# What every solver is tried on: a row and a bound active, a row and a bound not, an equality.
FULL = QP(
    Q=np.diag([2.0, 1.0, 1.0, 4.0]),
    q=np.array([-2.0, 3.0, -1.0, -8.0]),
    G=np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]),
    h=np.array([1.0, 9.0, 1e20]),
    A=np.array([[0.0, 0.0, 1.0, 1.0]]),
    b=np.array([2.0]),
    lb=np.array([-np.inf, -1.0, -9.0, -1e20]),
    ub=np.array([np.inf, 5.0, np.inf, 1.75]),
)


@pytest.fixture(
    params=[
        pytest.param(solver, id=name, marks=[] if name == "qpcore" else pytest.mark.peers)
        for name, solver in SOLVERS.items()
    ]
)
def solver(request):
    """A solver that is installed here."""
    if reason := request.param.missing():
        pytest.skip(reason)
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    yield request.param
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        (GOOD, {}),
        (SHORT, {"x": np.array([1e-8, 1.0])}),
        (INEXACT, {"x": np.array([1e-3, 1.0])}),  # infeasible
        (INEXACT, {"x": np.array([-1e-3, 1.0])}),  # feasible, not optimal
        (INEXACT, {"x": NAN}),
        (INEXACT, {"z": np.ones(1) + 1e-3}),
        (INEXACT, {"z": None}),
        (INEXACT, {"z_box": np.array([0.0, 1e-3])}),  # of an absent bound
        (OPEN, {"verdict": UNDECIDED}),
        (OPEN, {"verdict": REFUSED}),
        (OPEN, {"verdict": EITHER}),
        (FALSE, {"verdict": INFEASIBLE}),
        (FALSE, {"verdict": UNBOUNDED}),
        (FALSE, {"verdict": NONCONVEX}),
    ],
)
def test_outcome_of_an_optimal_problem(outcome, changes):
    assert judge(CASE, "high", ANSWER._replace(**changes), 0.1).outcome() == outcome


@pytest.mark.parametrize(
    ("truth", "verdict", "outcome"),
    [
        (INFEASIBLE, INFEASIBLE, GOOD),
        (INFEASIBLE, SOLVED, FALSE),
        (INFEASIBLE, UNBOUNDED, FALSE),
        (INFEASIBLE, EITHER, OPEN),
        (UNBOUNDED, UNBOUNDED, GOOD),
        (UNBOUNDED, INFEASIBLE, FALSE),
        (UNBOUNDED, REFUSED, OPEN),
        (EITHER, INFEASIBLE, GOOD),
        (EITHER, SOLVED, FALSE),
        (NONCONVEX, NONCONVEX, GOOD),
        (NONCONVEX, REFUSED, GOOD),
        (NONCONVEX, SOLVED, FALSE),
    ],
)
def test_outcome_of_other_problems(truth, verdict, outcome):
    case = Case("set", "name", SIMPLE, truth, None)
    assert judge(case, "default", ANSWER._replace(verdict=verdict), 0.1).outcome() == outcome


def test_objective_must_agree_though_residuals_vanish():
    case = Case("set", "name", SIMPLE, "optimal", -1.4)
    record = judge(case, "default", ANSWER, 0.1)
    assert record.exact(1e-9)
    assert record.objective == pytest.approx(0.1 / 1.4, rel=1e-2)
    assert record.outcome() == INEXACT


def test_residuals_are_those_of_qpbenchmark():
    rng = np.random.default_rng(0)
    n, m, p = 6, 4, 2
    L, G, A = (rng.standard_normal((rows, n)) for rows in (n, m, p))
    q, x, z_box = rng.standard_normal((3, n))
    h, z, b, y = *rng.standard_normal((2, m)), *rng.standard_normal((2, p))
    lb, ub = np.full(n, -0.5), np.full(n, 0.5)
    lb[0], ub[1], z_box[:2], z = -np.inf, np.inf, (1.0, -1.0), np.abs(z)
    Q = L @ L.T
    case = Case("set", "name", QP(Q, q, G, h, A, b, lb, ub), "optimal", 1.0)
    record = judge(case, "default", Answer(SOLVED, x, z, y, z_box), 0.1)
    primal = max(*(G @ x - h), *abs(A @ x - b), *(lb - x), *(x - ub), 0)
    dual = abs(Q @ x + q + G.T @ z + A.T @ y + z_box).max()
    pull = lb[1:] @ np.minimum(z_box, 0)[1:] + np.delete(ub, 1) @ np.maximum(np.delete(z_box, 1), 0)
    terms = np.array([x @ Q @ x, q @ x, h @ z, b @ y, pull])
    gap = abs(terms.sum())
    found = record.primal, record.dual, record.gap, record.gap_relative, record.gap_in_terms
    expected = primal, dual, gap, gap / 2, gap / (1 + abs(terms).max())
    np.testing.assert_allclose(found, expected, rtol=1e-2)


def test_what_reaches_a_level_does_so_with_all_residuals_and_is_solved():
    record = judge(CASE, "high", ANSWER, 0.1)
    assert record.reaches(1e-8)
    for name in ("primal_relative", "dual_relative", "gap_in_terms"):
        assert not record._replace(**{name: 2e-8}).reaches(1e-8)
        assert not record._replace(**{name: None}).reaches(1e-8)
    assert not judge(CASE, "high", ANSWER._replace(verdict=UNDECIDED), 0.1).reaches(1e-8)
    short = record._replace(name="other", gap_in_terms=2e-8)
    assert "on 1 of the 2" in reached(Run("qpcore", {}, [record, short]))


def test_geometric_mean_counts_failures_as_the_limit():
    good, bad = (judge(CASE, "default", ANSWER._replace(x=x), 1.0) for x in (ANSWER.x, NAN))
    assert geometric_mean([good, good], 10.0, 1e-3) == pytest.approx(1.0)
    assert geometric_mean([good, bad], 10.0, 10.0) == pytest.approx((11 * 20) ** 0.5 - 10)


@pytest.mark.parametrize("setting", ["default", "high"])
def test_solver_gets_and_gives_everything(solver, setting):
    if solver.name == "osqp" and setting == "default":
        pytest.skip("asks for 1e-3 by default")
    case = Case("set", "name", FULL, "optimal", -11.53125)
    answer, seconds = attempt(solver, FULL, setting, lambda: None)
    record = judge(case, setting, answer, seconds)
    assert record.outcome() in (GOOD, SHORT), record
    assert 0 < seconds < 10
    np.testing.assert_allclose(answer.x, [0.75, -1, 0.25, 1.75], atol=1e-4)
    np.testing.assert_allclose(answer.z, [0.5, 0, 0], atol=1e-3)


def test_solver_says_infeasible(solver):
    infeasible = SIMPLE._replace(G=np.array([[1.0, 0.0], [-1.0, 0.0]]), h=np.array([0.0, -1.0]))
    answer, _ = attempt(solver, infeasible, "default", lambda: None)
    if solver.name != "qpth":  # which never says so
        assert answer.verdict == INFEASIBLE


def test_solver_says_unbounded(solver):
    linear = SIMPLE._replace(Q=np.zeros((2, 2)))
    verdict = attempt(solver, linear, "default", lambda: None)[0].verdict
    if solver.name == "proxqp":
        pytest.skip("runs to its iteration limit")
    definite = solver.name in ("quadprog", "qpth")  # which take no other Q
    assert verdict == (REFUSED if definite else UNBOUNDED)


class Fragile(Solver):
    """Does what the last entry of q says, and gives the right answer to CASE otherwise."""

    name = "fragile"

    def prepare(self, qp, tol):
        return qp.q[1]

    def solve(self, ready):
        while ready == 11:
            pass
        if ready == 12:
            os._exit(3)
        if ready == 13:
            raise ValueError("too\nhard")
        time.sleep(60 if ready == 14 else 0)

    def read(self, qp, found):
        return ANSWER


def test_worker_outlives_its_solver():
    worker = Worker(Fragile(), limit=0.3, patience=2)
    try:
        for code, reason in {
            11: "stopped after 0.3 s",
            12: "its process died, exit code 3",
            13: "ValueError('too\\nhard')",
            14: "stopped after 0.3 s",
        }.items():
            case = Case("set", "name", SIMPLE._replace(q=np.array([-1.0, code])), "optimal", -1.5)
            answer, seconds = worker.solve(case, "default")
            assert (answer.verdict, answer.reason, seconds) == (UNDECIDED, reason, None)
        answer, seconds = worker.solve(CASE, "default")
        assert judge(CASE, "default", answer, seconds).outcome() == GOOD
    finally:
        worker.stop()


def test_records_are_merged_and_read_again(tmp_path):
    facts = {"limit": 1.0}
    old, bad = judge(CASE, "default", ANSWER, 0.1), judge(CASE, "high", ANSWER, 0.1)
    new = judge(CASE, "high", Answer(UNDECIDED), None)
    run = Run("qpcore", facts, [new]).over(Run("qpcore", {}, [old, bad]))
    save(tmp_path, run)
    assert read(tmp_path) == {"qpcore": Run("qpcore", facts, [old, new])}


def test_collection_is_judged_right_by_its_own_references(shared_data):
    for case in load(shared_data, ["mpc", "netlib_infeas", "osqp_bench"], quick=True):
        with np.load(shared_data / case.group / f"{case.name}.npz") as arrays:
            parts = [arrays[name] for name in ("x", "z", "y", "z_box")] if case.objective else []
        answer = Answer(SOLVED if parts else INFEASIBLE, *parts)
        assert judge(case, "high", answer, 0.1).outcome() == GOOD, case.name


def test_unknown_set_is_refused(shared_data):
    with pytest.raises(ValueError, match="no problems of mmm"):
        load(shared_data, ["mm", "mmm"])


def test_command_writes_results(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(SOLVERS["quadprog"], "missing", lambda: "not wanted here")
    options = ["--data", str(shared_data), "--quick", "--settings", "default"]
    command.main([*options, "--solvers", "qpcore", "quadprog", "--out", str(tmp_path)])
    assert "quadprog left out: not wanted here" in capsys.readouterr().out
    records = read(tmp_path)["qpcore"].records
    assert len(records) == len(load(shared_data, quick=True))
    assert [record.outcome() for record in records if record.truth == "optimal"].count(GOOD) > 10
    text = (tmp_path / "results.md").read_text()
    assert text == write(tmp_path)
    assert "| qpcore | " in text
    assert str(tmp_path) not in text
    assert (tmp_path / "profile.png").stat().st_size > 1000


def test_levels_fit_the_settings():
    assert judging.LEVEL.keys() == command.TOLERANCES.keys()

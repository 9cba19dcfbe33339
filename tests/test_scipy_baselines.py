"""The comparison with SciPy: its methods solve its problems, and the README's table is right."""

import json

import numpy as np
import pytest
from scipy.optimize import linprog

from benchmarks import scipy_baselines
from benchmarks.scipy_methods import LINEAR_ONLY, METHODS, WORKLOADS, Data, Found, errors, random_qp
from qpcore import solve

SMALL = [workload for workload in WORKLOADS if "100" not in workload.name]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: workload.name)
def test_methods_agree(method, workload):
    if method in LINEAR_ONLY and not workload.linear:
        pytest.skip("takes linear programs alone")
    problem = workload.make(np.random.default_rng(0), 2).one(1)
    found, best = METHODS[method](problem), solve(*problem)
    assert found.solved
    objective = 0.5 * found.x @ problem.Q @ found.x + problem.q @ found.x
    primal, _ = errors(problem, found.x, best.objective())
    assert primal < 1e-6
    # trust-constr stops where its barrier parameter is small, wherever the objective then is.
    tolerance = 1e-3 if method == "trust-constr" else 1e-6
    assert abs(objective - best.objective()) < tolerance * (1 + abs(best.objective()))


def test_errors_see_each_constraint():
    problem = Data(
        np.eye(2),
        np.zeros(2),
        G=np.array([[1.0, 0.0]]),
        h=np.zeros(1),
        A=np.array([[0.0, 1.0]]),
        b=np.ones(1),
        lb=np.full(2, -1.0),
        ub=np.full(2, 2.0),
    )
    cases = {(0.0, 1.0): 0.0, (0.5, 1.0): 0.5, (0.0, 0.5): 0.25, (-1.5, 1.0): 0.5, (0.0, 4.0): 2.0}
    for x, expected in cases.items():
        primal, objective = errors(problem, np.array(x), 0.5)
        assert primal == expected
        assert objective == pytest.approx((0.5 * np.dot(x, x) - 0.5) / 1.5)


def test_bad_answers_count_as_failures():
    data = random_qp(4, 4)(np.random.default_rng(0), 4)
    reference = solve(*data)
    answers = [Found(x, True, 1) for x in reference.x.copy()]
    answers[1] = Found(answers[1].x + 0.1, True, 1)
    answers[2] = Found(np.full(4, np.nan), False, 1)
    facts = scipy_baselines.summary("some", data, reference, answers, [1.0])
    assert facts["failures"] == 2
    assert scipy_baselines.summary("none", data, reference, answers[2:3], [1.0])["failures"] == 1


def test_multipliers_are_the_negative_marginals():
    """The README's table says so."""
    rng = np.random.default_rng(0)
    c, G, A = -rng.uniform(1, 2, 6), rng.uniform(0, 1, (2, 6)), rng.uniform(0, 1, (1, 6))
    h, b = 0.4 * G.sum(axis=1), 0.3 * A.sum(axis=1)
    theirs = linprog(c, G, h, A, b, bounds=(0, 1))
    ours = solve(np.zeros((6, 6)), c, G, h, A, b, lb=0, ub=1)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-6)
    np.testing.assert_allclose(ours.z, -theirs.ineqlin.marginals, atol=1e-6)
    np.testing.assert_allclose(ours.y, -theirs.eqlin.marginals, atol=1e-6)
    bounds = theirs.lower.marginals + theirs.upper.marginals
    np.testing.assert_allclose(ours.z_box, -bounds, atol=1e-6)
    assert np.abs(ours.z).max() > 0.01
    assert np.abs(ours.y).max() > 0.01
    assert np.abs(ours.z_box).max() > 0.01


def test_command_writes_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scipy_baselines, "WORKLOADS", SMALL)
    scipy_baselines.main(["--quick", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "results.json").read_text())
    assert [workload["name"] for workload in report["workloads"]] == [w.name for w in SMALL]
    for workload in report["workloads"]:
        assert workload["largest relative gap of the reference"] < 1e-10
        ours = workload["methods"][:2]
        assert [line["failures"] for line in ours] == [0, 0]
        assert all(line["objective error"] < 1e-6 for line in ours)
    assert (tmp_path / "results.md").read_text() in capsys.readouterr().out
    assert str(tmp_path) not in json.dumps(report)

"""The timing experiment: what is timed is a right answer, and the table says what was timed."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
pytest.importorskip("rich", reason="needs rich: pip install qpcore[plot]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install qpcore[plot]")

from benchmarks.paper.timing import __main__ as command
from benchmarks.paper.timing import plot
from benchmarks.paper.timing.solvers import SOLVERS, Linear, Qpcore, Slsqp
from benchmarks.scipy_methods import random_qp
from qpcore import Settings, solve

pytestmark = pytest.mark.usefixtures("one_torch_thread")

OURS = (Qpcore, Slsqp)


@pytest.fixture(scope="module")
def data():
    return random_qp(8, 8)(np.random.default_rng(0), 5)


@pytest.mark.parametrize(
    "solver",
    [
        pytest.param(s, id=s.name, marks=[] if s in OURS else pytest.mark.peers)
        for s in SOLVERS
        if s is not Linear
    ],
)
def test_solver_answers_right(solver, data):
    if reason := solver.missing():
        pytest.skip(reason)
    ready = solver(data, 1)
    expected = solve(*data, settings=Settings(tol=1e-11)).x
    for _ in range(2):
        np.testing.assert_allclose(ready.forward(), expected, atol=1e-4)
    if solver.differentiable:
        ready.backward()


def test_time_of_a_part_is_multiplied_up(data, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(command, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(Slsqp, "most", 2)
    entry = command.Entry(Slsqp, data, 1)
    for number in range(3):
        entry.time(warm_up=number == 0, least=2)
    facts = entry.facts(data, solve(*data).objective())
    assert facts["problems timed"] == 2
    assert facts["forward"] == {"median": 2.5, "seconds": [2.5, 2.5]}
    assert facts["backward"] is None
    assert facts["objective error"] < 1e-6


def test_enough_is_enough(data, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(command, "perf_counter", lambda: next(clock))
    entry = command.Entry(Qpcore, data, 1)
    for _ in range(8):
        entry.time(warm_up=False, least=3)
    assert entry.seconds == {"forward": [10] * 3, "backward": [10] * 3}


def test_wrong_answers_show(data):
    entry = command.Entry(Qpcore, data, 1)
    entry.time(warm_up=False, least=1)
    entry.x = entry.x + 0.1
    facts = entry.facts(data, solve(*data).objective())
    assert max(facts["primal residual"], facts["objective error"]) > 1e-3


def test_command_writes_results_and_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "SOLVERS", (Qpcore, Slsqp, Linear))
    options = ["--quick", "--sizes", "5", "500", "--batches", "1", "3", "--out", str(tmp_path)]
    command.main(options)
    report = json.loads((tmp_path / "results.json").read_text())
    assert [(cell["n"], cell["batch"]) for cell in report["batches"]] == [(5, 1), (5, 3)]
    for cell in report["batches"]:
        names = [facts["solver"] for facts in cell["solvers"]]
        assert names == ["qpcore", "scipy SLSQP", "linear layer"]
    table = (tmp_path / "results.md").read_text()
    assert table in capsys.readouterr().out
    assert "| 5 | 3 | qpcore |" in table
    assert str(tmp_path) not in table + json.dumps(report)
    for name in ("batch.png", "size.png"):
        (tmp_path / name).unlink()
    assert plot.draw(tmp_path) == table
    for name in ("batch.png", "size.png"):
        assert (tmp_path / name).stat().st_size > 10_000

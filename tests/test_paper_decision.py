"""The decision experiment: its choices are the best ones, and training lowers what they lose."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
pytest.importorskip("rich", reason="needs rich: pip install qpcore[plot]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install qpcore[plot]")

import torch
from scipy.optimize import linprog

from benchmarks.paper.decision import __main__ as command
from benchmarks.paper.decision import plot
from benchmarks.paper.decision.knapsack import Knapsack, regret
from benchmarks.paper.decision.train import train, two_stage
from qpcore import Settings

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def test_choices_are_the_best_ones():
    knapsack = Knapsack(degree=4, seed=0)
    values = knapsack.samples(20).values
    found = (knapsack.decide(values) * values).sum(dim=1)
    for value, best in zip(values.numpy(), found, strict=True):
        other = linprog(-value, knapsack.G.numpy(), knapsack.h.numpy(), bounds=(0, 1))
        assert best.item() == pytest.approx(-other.fun, rel=1e-6)


def test_mean_value_does_not_depend_much_on_the_degree():
    for degree in (1, 2, 4):
        mean = Knapsack(degree, seed=0).samples(2000).values.mean().item()
        assert 3 < mean < 9


def test_regret_is_zero_for_the_truth_and_positive_else():
    knapsack = Knapsack(degree=2, seed=0)
    values = knapsack.samples(100).values
    assert regret(knapsack, values, values) == pytest.approx(0, abs=1e-7)
    assert regret(knapsack, 3 * values, values) == pytest.approx(0, abs=1e-6)
    assert regret(knapsack, torch.flip(values, (0,)), values) > 0.01


def test_two_stages_fit_by_least_squares():
    samples = Knapsack(degree=1, seed=0).samples(500)
    model = two_stage(samples)
    left = (samples.values - model(samples.features)).detach()
    torch.testing.assert_close(left.mean(dim=0), torch.zeros(20, dtype=torch.float64))
    across = samples.features.mT @ left
    torch.testing.assert_close(across, torch.zeros_like(across), atol=1e-9, rtol=0)


def test_gradient_of_the_decision_against_central_differences():
    knapsack = Knapsack(degree=4, seed=0, settings=Settings(tol=1e-11))
    values = knapsack.samples(10).values
    direction = torch.from_numpy(np.random.default_rng(0).standard_normal(values.shape))
    predicted = (values + direction).requires_grad_()
    (knapsack.decide(predicted, 1.0) * values).sum().backward()
    step = 1e-6
    ends = [
        (knapsack.decide(predicted + s * step * direction, 1.0) * values).sum() for s in (1, -1)
    ]
    slope = (predicted.grad * direction).sum().item()
    assert slope == pytest.approx((ends[0] - ends[1]).item() / (2 * step), rel=1e-5)


def test_training_lowers_the_regret_of_a_wrong_model():
    torch.manual_seed(0)
    knapsack = Knapsack(degree=6, seed=0)
    training, test = knapsack.samples(200), knapsack.samples(500)
    epochs = list(train(two_stage(training), knapsack, training, test, epochs=8))
    assert [line.epoch for line in epochs] == list(range(9))
    assert epochs[-1].train < 0.9 * epochs[0].train
    assert epochs[-1].test < 0.95 * epochs[0].test


def test_command_writes_results_and_figure(tmp_path):
    command.main(["--quick", "--epochs", "1", "--degrees", "1", "4", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "results.json").read_text())
    assert [line["degree"] for line in report["summary"]] == [1]
    assert len(report["runs"]) == 2
    assert str(tmp_path) not in json.dumps(report)
    (tmp_path / "regret.png").unlink()
    plot.draw(tmp_path)
    assert (tmp_path / "regret.png").stat().st_size > 10_000

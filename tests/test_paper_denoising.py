"""The denoising experiment: its signals, that the duals are the primals, and that it learns."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
pytest.importorskip("rich", reason="needs rich: pip install qpcore[plot]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install qpcore[plot]")

import torch

from benchmarks.paper.denoising import __main__ as command
from benchmarks.paper.denoising import models, plot, speed
from benchmarks.paper.denoising.models import (
    PrimalProgram,
    TunedProgram,
    TunedVariation,
    denoise,
    differences,
)
from benchmarks.paper.denoising.signals import generate
from benchmarks.paper.denoising.train import RECIPES, Recipe, Tally, evaluate, train
from qpcore import Settings, Status, solve
from torch_bridge import solve_qp

pytestmark = pytest.mark.usefixtures("one_torch_thread")

EXACT = Settings(tol=1e-11)


@pytest.fixture(scope="module")
def signals():
    return generate(60)


def loss(model, signals):
    return (model(signals.noisy) - signals.clean).square().mean()


def test_signals_are_pieces_and_noise():
    signals = generate(2000, seed=1)
    jumps = (signals.clean.diff(dim=1) != 0).sum(dim=1)
    assert (jumps.min().item(), jumps.max().item()) == (0, 8)
    assert (signals.clean == signals.clean.round()).all()
    assert (signals.clean.min().item(), signals.clean.max().item()) == (10, 99)
    noise = signals.noisy - signals.clean
    assert abs(noise.mean().item()) < 0.1
    assert abs(noise.std().item() - 10) < 0.1


def test_signals_depend_on_the_seed_alone():
    long, short, other = generate(20), generate(10), generate(10, seed=1)
    assert (long.noisy[:10] == short.noisy).all()
    assert not (other.noisy == short.noisy).any()


@pytest.mark.parametrize("penalty", [1.0, 21.0, 1e4])
def test_dual_is_total_variation(signals, penalty):
    """The QP with slacks, as the paper writes it, has the same answer."""
    D, y = differences(), signals.noisy[:10]
    eye = np.eye(99)
    found = solve(
        np.diag([1.0] * 100 + [0.0] * 99),
        np.hstack([-y.numpy(), np.full((10, 99), penalty)]),
        np.block([[D.numpy(), -eye], [-D.numpy(), -eye]]),
        np.zeros(198),
        settings=EXACT,
    )
    x = denoise(D, y, penalty, EXACT)
    np.testing.assert_allclose(x, found.x[:, :100], atol=1e-4)
    if penalty == 1e4:  # nothing but the mean is left
        np.testing.assert_allclose(x, y.mean(dim=1, keepdim=True).expand(10, 100), atol=1e-6)


def test_tuning_starts_at_total_variation(signals):
    """But for the noise in W, which seeds differ in, and EPS on the diagonal of Q."""
    torch.manual_seed(0)
    y = signals.noisy
    expected = denoise(differences(), y, 21.0, EXACT)
    for model in (TunedVariation(21.0, EXACT), TunedProgram(21.0, EXACT)):
        with torch.no_grad():
            W = torch.zeros_like(model.W)
            W[:100] = torch.eye(100)
            model.W.copy_(W)
            assert (model(y) - expected).abs().max() < 0.05


def test_program_solved_by_its_dual_learns_as_the_primal(signals):
    """Same answers and gradients, but for a signal at a kink, which has no one gradient."""
    torch.manual_seed(0)
    dual = TunedProgram(settings=EXACT)
    with torch.no_grad():
        for parameter in dual.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        dual.L.diagonal()[100:] = 0.3  # the slacks of the start have next to no curvature
    primal = PrimalProgram(settings=EXACT)
    primal.load_state_dict(dual.state_dict())
    errors = []
    for part in signals[:12].batches(1):
        found = []
        for model in (dual, primal):
            model.zero_grad()
            loss(model, part).backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        errors.append(((found[0] - found[1]).norm() / found[1].norm()).item())
        # Beside heights of 100; x is known to the root of the gap, where a constraint hardly binds.
        assert (dual(part.noisy) - primal(part.noisy)).abs().max() < 1e-3
    assert np.median(errors) < 1e-6
    assert max(errors) < 0.01


def test_gradient_of_the_tuned_layer_against_central_differences(signals):
    torch.manual_seed(0)
    model, part, step = TunedVariation(settings=EXACT), signals[:20], 1e-5
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    loss(model, part).backward()
    for name, parameter in model.named_parameters():
        direction = torch.randn_like(parameter)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step * direction)
                ends.append(loss(model, part).item())
                parameter.sub_(sign * step * direction)
        slope = (parameter.grad * direction).sum().item()
        difference = (ends[0] - ends[1]) / (2 * step)
        # A kink of one of the 20 signals may lie within the step.
        assert slope == pytest.approx(difference, rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize("row", ["tuned variation", "learned differences", "fully connected"])
def test_training_reduces_the_error(row):
    torch.manual_seed(0)
    signals = generate(600)
    # A few batches at the recipe's rate hardly move what starts at total variation.
    recipe = RECIPES[row] if row != "tuned variation" else Recipe(TunedVariation, 3e-4)
    model = recipe.make()
    epochs = list(train(model, recipe, signals, signals[:150], epochs=4))
    assert [line.epoch for line in epochs] == [0, 1, 2, 3, 4]
    assert epochs[-1].train < epochs[1].train
    assert epochs[-1].test == pytest.approx(evaluate(model, signals[:150]).error)
    assert sum(line.failures for line in epochs) == 0


@pytest.mark.parametrize("name", ["tuned variation", "learned differences"])
def test_what_is_not_solved_is_left_out_of_loss_and_gradient(signals, name, monkeypatch):
    def third_fails(*args, **kwargs):
        result = solve_qp(*args, **kwargs)
        status, keep = result.status.clone(), torch.arange(6)[:, None] != 2
        status[2] = Status.NUMERICAL_ERROR
        return result._replace(x=torch.where(keep, result.x, torch.nan), status=status)

    torch.manual_seed(0)
    model, part = RECIPES[name].make(), signals[:6]
    others = torch.arange(6) != 2
    (model(part.noisy) - part.clean)[others].square().sum().backward()
    expected = model.D.grad.clone()
    model.zero_grad()
    monkeypatch.setattr(models, "solve_qp", third_fails)
    x, tally = model(part.noisy), Tally()
    assert (x.isfinite().all(dim=1) == others).all()
    tally.add(x, part).sum().backward()
    assert (tally.failures, tally.entries) == (1, 500)
    torch.testing.assert_close(model.D.grad, expected, rtol=1e-10, atol=1e-10)


def test_sparsity_is_part_of_the_loss():
    torch.manual_seed(0)
    signals = generate(150)
    ends = []
    for sparsity in (0.0, 100.0):
        torch.manual_seed(0)
        recipe = Recipe(RECIPES["learned differences"].make, 1e-2, sparsity)
        model = recipe.make()
        list(train(model, recipe, signals, signals, epochs=5))
        ends.append(model.D.abs().sum().item())
    assert ends[1] < ends[0]


def test_command_writes_results_and_figures(tmp_path):
    command.main(["--quick", "--epochs", "1", "--seeds", "3", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "results.json").read_text())
    assert [(run["row"], run["seed"]) for run in report["runs"]] == [
        (row, 3) for row in command.MAIN
    ]
    errors = report["total variation"]
    best = errors["best"]
    assert best["train"] == min(errors["train"])
    assert best["test"] == errors["test"][errors["penalties"].index(best["penalty"])]
    assert all(len(run["epochs"]) == 2 for run in report["runs"])
    assert str(tmp_path) not in json.dumps(report)
    figures = [tmp_path / "curves.png", tmp_path / "signals.png"]
    assert all(figure.stat().st_size > 10_000 for figure in figures)
    for figure in figures:
        figure.unlink()
    table = plot.draw(tmp_path)
    assert all(figure.exists() for figure in figures)
    assert (tmp_path / "results.md").read_text() == table
    for run in report["runs"]:
        assert f"| {run['train']:.2f} | {run['test']:.2f} | {run['test']:.1f} | 1 | 1 |" in table
    assert "| 13.8 | 14.4 |" in table


@pytest.mark.peers
def test_epochs_are_timed_beside_qpth(tmp_path):
    pytest.importorskip("qpth", reason="needs qpth: make bench-env")
    speed.main(["--quick", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "speed.json").read_text())
    assert [line["threads"] for line in report["epochs"]] == [1] * 5
    for line in report["epochs"]:
        assert line["seconds per epoch"] > 0
        assert line["parameters still finite"]

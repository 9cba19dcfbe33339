"""The digits experiment: the projection is the projection, and nothing turns NaN."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
pytest.importorskip("rich", reason="needs rich: pip install qpcore[plot]")
pytest.importorskip("matplotlib", reason="needs matplotlib: pip install qpcore[plot]")

import torch

from benchmarks.paper.classification import __main__ as command
from benchmarks.paper.classification import digits, plot
from benchmarks.paper.classification.digits import Digits
from benchmarks.paper.classification.models import MODELS, project
from benchmarks.paper.classification.train import Epoch, train
from qpcore import Settings

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def made_up(count):
    """Ten prototypes with noise, which every model can learn to tell apart."""
    prototypes = torch.rand(10, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 10
    return Digits(prototypes[labels] + 0.1 * torch.randn(count, 64, dtype=torch.float64), labels)


def by_sorting(v):
    """The projection onto the simplex in closed form (Held, Wolfe & Crowder 1974)."""
    u = np.sort(v)[::-1]
    shifts = (np.cumsum(u) - 1) / np.arange(1, len(v) + 1)
    return np.maximum(v - shifts[u > shifts][-1], 0)


def test_projection_agrees_with_the_closed_form():
    v = torch.from_numpy(np.random.default_rng(0).normal(scale=2.0, size=(100, 10)))
    x = project(v, Settings(tol=1e-11)).numpy()
    # The root of the tolerance bounds what is off where an entry just leaves zero.
    np.testing.assert_allclose(x, [by_sorting(row) for row in v.numpy()], atol=1e-7)
    assert 0.3 < (x < 1e-8).mean() < 0.9


def test_gradient_of_the_projection():
    """Its Jacobian is I - 11'/k on the k entries that are positive."""
    v = torch.from_numpy(np.random.default_rng(1).normal(size=(20, 10))).requires_grad_()
    x = project(v, Settings(tol=1e-11))
    weights = torch.randn_like(x)
    (x * weights).sum().backward()
    support = (x > 1e-6).double()
    means = (weights * support).sum(1, keepdim=True) / support.sum(1, keepdim=True)
    torch.testing.assert_close(v.grad, support * (weights - means), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_models_learn(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    epochs = list(train(model, made_up(640), made_up(200), epochs=6))
    assert all(line.finite for line in epochs)
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].test > 0.5  # by chance 0.1


def test_loss_of_the_projection_has_the_gradient_p_minus_y():
    model, v = MODELS["FC, simplex projection"](Settings(tol=1e-11)), 3 * torch.randn(20, 10)
    v = v.double().requires_grad_()
    labels = torch.arange(20) % 10
    model.loss(v, labels).backward()
    p = model.probabilities(v.detach())
    expected = (p - torch.nn.functional.one_hot(labels, 10)) / 20
    torch.testing.assert_close(v.grad, expected, rtol=1e-6, atol=1e-7)
    sure = 5.0 * torch.nn.functional.one_hot(labels, 10).double()
    assert model.loss(sure, labels).item() == pytest.approx(0, abs=1e-7)


def test_what_is_not_finite_is_noticed():
    model = MODELS["FC, softmax"]()
    with torch.no_grad():
        model.body[0].weight[0, 0] = torch.nan
    (line,) = train(model, made_up(64), made_up(10), epochs=1)
    assert isinstance(line, Epoch)
    assert not line.finite


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("benchmarks.paper.command.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"scikit-learn, which is not installed: pip install"):
        digits.load(0)


def test_digits_are_split_anew_by_each_seed():
    pytest.importorskip("sklearn", reason="needs scikit-learn: make bench-env")
    training, test = digits.load(0)
    assert (len(training), len(test)) == (1438, 359)
    images = torch.cat([training.images, test.images])
    other = torch.cat([part.images for part in digits.load(1)])
    assert images.shape == (1797, 64)
    assert (images.min().item(), images.max().item()) == (0, 1)
    assert not (images == other).all()
    assert torch.equal(images.sum(dim=1).sort().values, other.sum(dim=1).sort().values)


def test_command_writes_results_and_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "load", lambda seed: (made_up(128), made_up(50)))
    command.main(["--quick", "--epochs", "1", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "results.json").read_text())
    assert [line["model"] for line in report["summary"]] == list(MODELS)
    for line in report["summary"]:
        assert line["seeds"] == 2
        assert line["runs with NaN"] == 0
        assert line["least"] <= line["mean"]
    assert str(tmp_path) not in json.dumps(report)
    (tmp_path / "curves.png").unlink()
    plot.draw(tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 10_000

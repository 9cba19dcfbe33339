"""QPLayer and OptNetLayer are modules like any other."""

import copy
import pickle
from functools import partial
from pathlib import Path

import pytest
from problems import known
from tensors import FORM, TIGHT, tensors, torch
from torch.autograd import gradcheck

from qpcore import ProblemError
from torch_bridge import OptNetLayer, QPLayer, solve_qp


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return OptNetLayer(5, 7, 2, dtype=torch.float64)


def data_of(layer):
    """Q, G, h, A, b of a layer, by the formulas of its docstring."""
    L = layer.L.tril()
    Q = L @ L.T + layer.eps * torch.eye(layer.n, dtype=L.dtype)
    return Q, layer.G, layer.G @ layer.x0 + layer.log_s0.exp(), layer.A, layer.A @ layer.x0


def test_qp_layer_returns_the_minimiser():
    problem = tensors(known(FORM, 1, (2,)).data)
    layer = QPLayer(settings=TIGHT)
    assert torch.equal(layer(**problem), solve_qp(**problem, settings=TIGHT).x)
    assert "tol=1e-12" in repr(layer)
    assert not list(layer.parameters())


def test_optnet_layer_solves_its_qp(layer):
    q = torch.randn(3, 4, 5, dtype=torch.float64)
    Q, G, h, A, b = data_of(layer)
    torch.testing.assert_close(layer(q), solve_qp(Q, q, G, h, A, b).x, rtol=0, atol=1e-12)


def test_optnet_layer_starts_as_in_the_paper(layer):
    assert torch.equal(layer.L, layer.L.tril())
    assert ((layer.L >= 0) & (layer.L < 1)).all()
    assert (layer.G.abs() <= 1).all()
    assert (layer.G < 0).any()
    assert ((layer.A >= 0) & (layer.A < 1)).all()
    _, _, h, _, b = data_of(layer)
    assert torch.equal(h, torch.ones_like(h))
    assert torch.equal(b, torch.zeros_like(b))


@pytest.mark.parametrize(("m", "p"), [(0, 0), (3, 0), (0, 2)])
def test_optnet_layer_without_some_blocks(m, p):
    layer = OptNetLayer(4, m, p, dtype=torch.float64)
    q = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    x = layer(q)
    x.square().sum().backward()
    assert x.shape == q.grad.shape == (6, 4)
    assert layer.L.grad.triu(1).abs().max() == 0


def test_optnet_layer_gradients(layer):
    q = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    layer.settings = TIGHT
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(q, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (q,))

    # The ill-conditioned Q of the initial values costs two digits.
    assert gradcheck(run, (q, *values), eps=1e-5, atol=1e-5, rtol=1e-5)


def test_optnet_layer_stays_feasible_while_it_learns(layer):
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    q, target = torch.randn(2, 16, 5, dtype=torch.float64)
    losses = []
    for _ in range(20):
        x = layer(q)
        _, G, h, A, b = data_of(layer)
        with torch.no_grad():
            assert ((x @ G.T - h) <= 1e-6).all()
            torch.testing.assert_close(x @ A.T, b.expand(16, 2), rtol=1e-6, atol=1e-6)
        losses.append((x - target).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_optnet_layer_in_single_precision():
    torch.manual_seed(0)
    layer = OptNetLayer(5, 7, 2, eps=0.1, dtype=torch.float32)
    double = copy.deepcopy(layer).double()
    q = torch.randn(8, 5)
    x, reference = layer(q), double(q.double())
    assert x.dtype == torch.float32
    # The default tolerance of 1e-5 in single precision, times the condition of Q.
    torch.testing.assert_close(x, reference.float(), rtol=1e-3, atol=1e-3)
    x.sum().backward()
    reference.sum().backward()
    for single, exact in zip(layer.parameters(), double.parameters(), strict=True):
        assert single.grad.dtype == torch.float32
        torch.testing.assert_close(single.grad, exact.grad.float(), rtol=2e-2, atol=2e-2)


LAYERS = {
    "QPLayer": partial(QPLayer, TIGHT, throw=False),
    "OptNetLayer": partial(OptNetLayer, 4, 3, 1, settings=TIGHT, dtype=torch.float64),
}


def through_state_dict(layer):
    torch.manual_seed(5)
    twin = LAYERS[type(layer).__name__]()
    twin.load_state_dict(layer.state_dict())
    return twin


def through_a_file(layer):
    path = Path(layer.path)
    torch.save(layer, path)
    return torch.load(path, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "torch.save": through_a_file,
    "state_dict": through_state_dict,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_copy_of_a_layer_answers_alike(name, how, tmp_path):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    layer.path = str(tmp_path / "layer.pt")
    q = torch.randn(3, 4, dtype=torch.float64)
    inputs = (torch.eye(4, dtype=torch.float64), q) if name == "QPLayer" else (q,)
    options = {"lb": -0.5} if name == "QPLayer" else {}
    layer(*inputs, **options).sum()  # after use: nothing of it may stick
    twin = COPIES[how](layer)
    assert torch.equal(twin(*inputs, **options), layer(*inputs, **options))
    assert repr(twin) == repr(layer)
    for ours, theirs in zip(layer.parameters(), twin.parameters(), strict=True):
        assert ours.data_ptr() != theirs.data_ptr()


def test_optnet_layer_shows_its_sizes(layer):
    assert "OptNetLayer(n=5, m=7, p=2, eps=0.0001" in repr(layer)


@pytest.mark.parametrize("sizes", [(0,), (3, -1), (3, 0, -1)])
def test_optnet_layer_rejects_sizes(sizes):
    with pytest.raises(ProblemError, match="expected n >= 1"):
        OptNetLayer(*sizes)

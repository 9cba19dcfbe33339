"""Test problems as tensors, and what is made of their answers."""

import numpy as np
import pytest
from problems import Form, known

from qpcore import Settings

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")

from torch_bridge import solve_qp  # noqa: E402

ARGUMENTS = ("Q", "q", "G", "h", "A", "b", "lb", "ub", "h_lower")
FORM = Form(4, 5, 1, rows="mixed", box="mixed")
"""Every argument and every kind of side, small enough to difference each entry."""

TIGHT = Settings(tol=1e-12)
"""For differences with steps of 1e-5, which magnify the answer's error to 1e-7."""


def tensors(data, grad=True):
    """Leaf tensors of a test problem."""
    return {name: torch.tensor(value, requires_grad=grad) for name, value in data.items()}


def gradients(problem, settings=TIGHT):
    """Gradients by every tensor that wants one, of a loss that weighs every answer differently."""
    result = solve_qp(**problem, settings=settings)
    wanted = {name: t for name, t in problem.items() if t.requires_grad}
    found = torch.autograd.grad(loss(result), list(wanted.values()))
    return dict(zip(wanted, found, strict=True))


def loss(result):
    return sum((part * torch.arange(1, part.shape[-1] + 1)).sum() for part in result[:4])


def spread(data):
    """One problem as a (2, 3) batch of neighbours; no argument varies along both axes."""
    leads = {"Q": (2, 1), "q": (3,), "h": (2, 1), "A": (1, 1), "b": (3,), "lb": (1,), "ub": (2, 1)}
    rng = np.random.default_rng(0)
    shapes = {name: leads.get(name, ()) + value.shape for name, value in data.items()}
    return {name: data[name] + 1e-6 * rng.standard_normal(shape) for name, shape in shapes.items()}


def one_number(data):
    """A problem in which all limits of a kind are one number, far away but for ub."""
    return data | {
        "h": np.array(50.0),
        "h_lower": np.array(-50.0),
        "lb": np.array(-50.0),
        "ub": np.array(0.5),
    }


LAYOUTS = {
    "single": known(FORM, 1).data,
    "batched": known(FORM, 2, (3,)).data,
    "shared": known(FORM, 3, (3,), shared=("Q", "G", "A")).data,
    "two batch axes, broadcast": spread(known(FORM, 4).data),
    "limits of one number": one_number(known(Form(4, 5, 1), 5).data),
    "linear program": known(Form(4, 6, 1, rows="both", box="both", rank=0), 6, (2,)).data,
}

"""Factors that a solve saves serve the derivatives of tensors too, as long as its answer lives."""

import gc

import numpy as np
import pytest
from problems import Form
from pullback import drawn
from tensors import solve_qp, tensors, torch

import qpcore
from qpcore import cpu

saved = pytest.importorskip("torch_bridge.saved", reason="needs PyTorch")

FORMS = [(Form(cpu.MOST_IN_PACKS + 2, 20, 2), (2,)), (Form(30, 12), ()), (Form(10, 6, 1), (9,))]


@pytest.fixture
def recalled(monkeypatch):
    """What was found, call by call."""
    found, recall = [], saved.recall

    def noted(*arguments):
        found.append(recall(*arguments))
        return found[-1]

    monkeypatch.setattr(saved, "recall", noted)
    return found


@pytest.mark.parametrize(("form", "batch"), FORMS, ids=str)
def test_backward_uses_what_the_solve_saved(form, batch, recalled):
    data = drawn(form, 180, batch).data
    given = tensors(data)
    x = solve_qp(**given)[0]
    x.sum().backward()
    assert len(recalled) == 1
    assert recalled[0] is not None
    solution = qpcore.solve(**data, keep_factors=True)
    gradients = qpcore.vjp(solution, dx=np.ones(solution.x.shape))
    for name, tensor in given.items():
        np.testing.assert_array_equal(tensor.grad.numpy(), getattr(gradients, name))


@pytest.mark.parametrize(
    ("learned", "grad", "kept"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_small_problems_keep_factors_if_somebody_may_differentiate(learned, grad, kept):
    given = tensors(drawn(FORMS[2][0], 183, FORMS[2][1]).data)
    for tensor in given.values():
        tensor.requires_grad_(learned)
    before = len(saved._entries)
    with torch.set_grad_enabled(grad):
        result = solve_qp(**given)
    assert len(saved._entries) == before + kept
    del result


@pytest.mark.parametrize(("form", "batch"), FORMS[1:], ids=str)
def test_second_derivatives_and_forward_mode_use_it_too(form, batch, recalled):
    given = tensors(drawn(form, 181, batch).data)
    x = solve_qp(**given)[0]
    (first,) = torch.autograd.grad(x.pow(2).sum(), given["q"], create_graph=True)
    first.sum().backward()
    assert len(recalled) >= 2
    assert all(factors is not None for factors in recalled)


def test_nothing_is_recalled_of_other_problems_and_dead_answers(recalled):
    data = drawn(FORMS[1][0], 182, ()).data
    before = len(saved._entries)
    solution = qpcore.solve(**data)
    saved.remember(solution)
    assert len(saved._entries) == before + 1
    assert saved.recall(solution.x, solution.problem) is solution.saved
    other = qpcore.Problem.parse(**data | {"Q": data["Q"].copy()})
    assert saved.recall(solution.x, other) is None
    assert saved.recall(solution.x[:5], solution.problem) is None
    assert saved.recall(solution.x.copy(), solution.problem) is None
    del solution
    gc.collect()
    assert len(saved._entries) == before

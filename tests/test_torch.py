"""solve_qp is a PyTorch function like any other."""

import numpy as np
import pytest
from problems import Form, known
from tensors import ARGUMENTS, FORM, LAYOUTS, TIGHT, gradients, loss, tensors, torch
from torch.autograd import gradcheck
from torch.utils.checkpoint import checkpoint

from torch_bridge import QPResult, solve_qp


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_answer_has_the_right_gradient_by_every_argument(layout):
    problem = tensors(LAYOUTS[layout])
    if layout == "linear program":
        problem["Q"].requires_grad_(False)  # a step down from zero is no longer convex

    def answers(*values):
        return solve_qp(**dict(zip(problem, values, strict=True)), settings=TIGHT)[:4]

    # A step of 1e-5 cuts 1e-10 off the derivative and makes 1e-7 of the answer's error.
    assert gradcheck(answers, tuple(problem.values()), eps=1e-5, atol=1e-6, rtol=1e-6)


def test_gradient_of_a_nonsymmetric_Q_is_that_of_its_symmetric_part():
    data = known(FORM, 7, (2,)).data
    skew = np.triu(np.random.default_rng(0).standard_normal((4, 4)), 1)
    symmetric = gradients(tensors(data))["Q"]
    found = gradients(tensors(data | {"Q": data["Q"] + skew - skew.T}))["Q"]
    torch.testing.assert_close(found, found.mT, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found, symmetric, rtol=1e-9, atol=1e-9)


def test_result_names_its_parts_and_only_the_answers_have_gradients():
    result = solve_qp(**tensors(known(FORM, 1, (2, 3)).data))
    assert isinstance(result, QPResult)
    shapes = {name: tuple(part.shape) for name, part in result._asdict().items()}
    batch = {"status": (2, 3), "iterations": (2, 3)}
    assert shapes == {"x": (2, 3, 4), "z": (2, 3, 5), "y": (2, 3, 1), "z_box": (2, 3, 4)} | batch
    assert [part.requires_grad for part in result] == [True] * 4 + [False] * 2
    assert (result.status.dtype, result.iterations.dtype) == (torch.int8, torch.int32)


@pytest.mark.parametrize("wanted", ARGUMENTS)
def test_only_wanted_gradients_are_returned_and_they_do_not_depend_on_the_others(wanted):
    data = known(FORM, 8, (2,)).data
    problem = tensors(data, grad=False)
    problem[wanted].requires_grad_()
    torch.testing.assert_close(gradients(problem)[wanted], gradients(tensors(data))[wanted])
    loss(solve_qp(**problem)).backward()
    assert [name for name in problem if problem[name].grad is not None] == [wanted]


def test_floats_are_limits_of_all_entries():
    data = known(Form(4, 5, 1), 9, (2,)).data
    numbers = {"h": 3.0, "h_lower": -3, "lb": -2.0, "ub": float("inf")}
    arrays = {
        name: torch.full((5 if "h" in name else 4,), float(v)).double()
        for name, v in numbers.items()
    }
    problem = {name: value for name, value in tensors(data).items() if name not in numbers}
    for found, expected in zip(
        solve_qp(**problem, **numbers), solve_qp(**problem, **arrays), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("changed", [*ARGUMENTS, "x", "z", "y", "z_box"])
def test_change_in_place_is_detected(changed):
    leaves = tensors(known(FORM, 1).data)
    problem = {name: leaf.clone() for name, leaf in leaves.items()}
    result = solve_qp(**problem)
    total = result.x.sum()
    ({**problem, **result._asdict()})[changed].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_graph_survives_and_repeats():
    problem = tensors(known(FORM, 1, (2,)).data)
    total = loss(solve_qp(**problem))
    first = torch.autograd.grad(total, list(problem.values()), retain_graph=True)
    for once, again in zip(first, torch.autograd.grad(total, list(problem.values())), strict=True):
        assert torch.equal(once, again)


def test_checkpoint_gives_the_same_gradient():
    problem = tensors(known(FORM, 1, (2,)).data)

    def total(q):
        return loss(solve_qp(**problem | {"q": q}, settings=TIGHT))

    (found,) = torch.autograd.grad(
        checkpoint(total, problem["q"], use_reentrant=False), problem["q"]
    )
    assert torch.equal(found, gradients(problem)["q"])

"""Forward mode and derivatives of higher order, in eager PyTorch."""

from dataclasses import replace

import pytest
from problems import Form, known
from pullback import CONDITION
from tensors import FORM, TIGHT, loss, one_number, spread, tensors, torch
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp

from qpcore import Status
from torch_bridge import solve_qp

# torch itself imports scripted code on the first use of forward mode
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

MILD = replace(FORM, condition=CONDITION)
"""Second derivatives are as large as the cube of the KKT matrix's condition."""

LAYOUTS = {
    "single": known(MILD, 1).data,
    "batched": known(MILD, 2, (2,)).data,
    "shared": known(MILD, 3, (2,), shared=("Q", "G", "A")).data,
    "two batch axes, broadcast": spread(known(MILD, 4).data),
    "limits of one number": one_number(known(Form(4, 5, 1, condition=CONDITION), 5).data),
    "bounds alone": known(Form(4, box="both", condition=CONDITION), 6, (2,)).data,
}

# Steps of 1e-5 cut 1e-10 off a derivative and make 1e-7 of the answer's error; second derivatives
# magnify the latter once more.
FIRST = {"eps": 1e-5, "atol": 1e-6, "rtol": 1e-6}
SECOND = {"eps": 1e-5, "atol": 1e-5, "rtol": 1e-5}


def as_function(problem, part=loss):
    """The answer's parts, or a function of them, of the problem's tensors in their order."""

    def run(*values):
        result = solve_qp(**dict(zip(problem, values, strict=True)), settings=TIGHT)
        return part(result)

    return run


def answers(result):
    return result[:4]


def energy(result):
    """A loss that is linear in nothing."""
    return sum(part.square().sum() for part in result[:4]) + loss(result) * result.x.sum()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_mode_has_the_right_tangents(layout):
    problem = tensors(LAYOUTS[layout])
    run, values = as_function(problem, answers), tuple(problem.values())
    assert gradcheck(run, values, **FIRST, check_forward_ad=True, check_backward_ad=False)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_second_derivatives_of_every_answer_by_every_pair_of_arguments(layout):
    problem = tensors(LAYOUTS[layout])
    run, values = as_function(problem, answers), tuple(problem.values())
    assert gradgradcheck(run, values, **SECOND, check_fwd_over_rev=True)


@pytest.mark.parametrize("layout", ["single", "shared"])
def test_forward_and_reverse_mode_are_transposes(layout):
    problem = tensors(LAYOUTS[layout], grad=False)
    run, values = as_function(problem, answers), tuple(problem.values())
    torch.manual_seed(0)
    tangents = tuple(torch.randn_like(value) for value in values)
    found, moved = jvp(run, values, tangents)
    cotangents = tuple(torch.randn_like(part) for part in found)
    pulled = vjp(run, *values)[1](cotangents)
    forward = sum((a * b).sum() for a, b in zip(cotangents, moved, strict=True))
    reverse = sum((a * b).sum() for a, b in zip(pulled, tangents, strict=True))
    torch.testing.assert_close(forward, reverse, rtol=1e-10, atol=1e-10)


NESTED = {
    "forward over reverse": lambda f, by: hessian(f, by),
    "reverse over reverse": lambda f, by: jacrev(jacrev(f, by), by),
    "reverse over forward": lambda f, by: jacrev(jacfwd(f, by), by),
    "forward over forward": lambda f, by: jacfwd(jacfwd(f, by), by),
}


@pytest.mark.parametrize("layout", ["single", "shared"])
@pytest.mark.parametrize("modes", NESTED)
def test_hessians_are_differences_of_gradients(layout, modes):
    problem = tensors(LAYOUTS[layout], grad=False)
    run, values = as_function(problem, energy), tuple(problem.values())
    by = tuple(range(len(values)))
    found = NESTED[modes](run, by)(*values)
    gradient = grad(run, by)
    torch.manual_seed(1)
    for i, (value, column) in enumerate(zip(values, zip(*found, strict=True), strict=True)):
        step = 1e-5 * torch.randn_like(value)
        ahead, behind = (
            gradient(*values[:i], value + sign * step, *values[i + 1 :]) for sign in (1, -1)
        )
        for block, up, down in zip(column, ahead, behind, strict=True):
            expected = (up - down) / 2
            along = (block * step).flatten(up.ndim).sum(-1) if step.ndim else block * step
            scale = 1e-5 * (1 + block.abs().max())
            assert (along - expected).abs().max() <= 1e-5 * scale


def test_third_derivative():
    problem = tensors(LAYOUTS["single"], grad=False)
    run, q = as_function(problem, energy), problem["q"]
    place = list(problem).index("q")

    def at(q):
        values = list(problem.values())
        values[place] = q
        return run(*values)

    def curvature(q):
        return hessian(at)(q).square().sum()

    def difference(i):
        step = torch.zeros_like(q)
        step[i] = 1e-4
        return (curvature(q + step) - curvature(q - step)) / 2e-4

    expected = torch.stack([difference(i) for i in range(len(q))])
    scale = curvature(q).abs().item()
    torch.testing.assert_close(grad(curvature)(q), expected, rtol=1e-5, atol=1e-7 * scale)


def test_gradient_penalty_trains_through_the_gradient():
    problem = tensors(LAYOUTS["shared"])
    values = list(problem.values())
    result = solve_qp(**problem, settings=TIGHT)
    found = torch.autograd.grad(energy(result), values, create_graph=True)
    penalty = sum(gradient.square().sum() for gradient in found)
    penalty.backward()

    def squared(*values):
        return sum(g.square().sum() for g in grad(run, tuple(range(len(values))))(*values))

    run = as_function(problem, energy)
    expected = grad(squared, tuple(range(len(values))))(*(v.detach() for v in values))
    scale = max(reference.abs().max().item() for reference in expected)
    for value, reference in zip(values, expected, strict=True):
        torch.testing.assert_close(value.grad, reference, rtol=0, atol=1e-9 * scale)


def test_gradient_with_a_graph_equals_that_without():
    for data in LAYOUTS.values():
        problem = tensors(data)
        total = energy(solve_qp(**problem, settings=TIGHT))
        values = list(problem.values())
        plain = torch.autograd.grad(total, values, retain_graph=True)
        for one, other in zip(
            plain, torch.autograd.grad(total, values, create_graph=True), strict=True
        ):
            # The plain pass may take the answer one step closer before it enters the gradient.
            scale = 1 + one.abs().max().item()
            torch.testing.assert_close(one, other.detach(), rtol=0, atol=1e-9 * scale)


def test_dual_numbers_without_torch_func():
    problem = tensors(LAYOUTS["batched"], grad=False)
    run, values = as_function(problem, energy), tuple(problem.values())
    tangents = tuple(torch.ones_like(value) for value in values)
    expected = jvp(run, values, tangents)[1]
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, values, tangents)
        found = forward_ad.unpack_dual(run(*duals)).tangent
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_backward_pass_through_dual_numbers_carries_tangents():
    problem = tensors(LAYOUTS["single"])
    run, q = as_function(problem, energy), problem["q"]
    place = list(problem).index("q")
    values, direction = list(problem.values()), torch.ones_like(q)
    product = torch.autograd.functional.hvp(
        lambda q: run(*values[:place], q, *values[place + 1 :]), q, direction
    )[1]
    with forward_ad.dual_level():
        values[place] = forward_ad.make_dual(q, direction)
        (gradient,) = torch.autograd.grad(run(*values), q)  # no graph is asked for
        found = forward_ad.unpack_dual(gradient).tangent
    torch.testing.assert_close(found, product, rtol=1e-10, atol=1e-10)


def test_failed_problem_left_out_adds_exactly_zero_to_second_derivatives():
    good = known(MILD, 7, (3,)).data
    alone = {name: torch.tensor(value[[0, 2]]) for name, value in good.items()}
    spoiled = {name: torch.tensor(value) for name, value in good.items()}
    spoiled["ub"][1], spoiled["lb"][1] = -1.0, 1.0  # no point is in between
    products = []
    for problem in (alone, spoiled):
        q = problem["q"].requires_grad_()
        result = solve_qp(**problem, settings=TIGHT, throw=False)
        x = result.x[result.status == Status.SOLVED]
        (gradient,) = torch.autograd.grad(x.pow(3).sum(), q, create_graph=True)
        products.append(torch.autograd.grad(gradient.square().sum(), q)[0])
    assert torch.equal(products[1][1], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(products[1][[0, 2]], products[0], rtol=1e-12, atol=1e-12)

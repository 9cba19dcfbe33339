"""`Settings(infeasible="closest")` through torch: a plain backward pass, and nothing else."""

import pytest
from tensors import torch
from torch.autograd import forward_ad
from torch.func import grad, jvp

import qpcore
from qpcore import Settings, Status
from torch_bridge import QPLayer, solve_qp

# torch itself imports scripted code on the first use of forward mode
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")

CLOSEST = Settings(infeasible="closest")


def problem():
    """x >= 0.1 in each of three variables: the sums 1, 0.2 and 0.25 can be had, not, and not."""
    v = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.5, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    b = torch.tensor([[1.0], [0.2], [0.25]], dtype=torch.float64)
    lb = torch.full((3,), 0.1, dtype=torch.float64)
    return {"q": -v, "b": b, "lb": lb}


def solved(q, b, lb, settings=CLOSEST):
    Q, A = torch.eye(3, dtype=q.dtype), torch.ones(1, 3, dtype=q.dtype)
    return solve_qp(Q, q, A=A, b=b, lb=lb, settings=settings)


def weighted(**tensors):
    result = solved(**tensors)
    return (result.x * torch.tensor([1.0, 2, 4], dtype=result.x.dtype)).sum() + result.y.sum()


def test_the_backward_pass_is_vjp():
    tensors = {k: t.requires_grad_() for k, t in problem().items()}
    weighted(**tensors).backward()
    arrays = {k: t.detach().numpy() for k, t in tensors.items()}
    A = torch.ones(1, 3).double().numpy()
    solution = qpcore.solve(torch.eye(3).double().numpy(), A=A, **arrays, settings=CLOSEST)
    dx = torch.tensor([[1.0, 2, 4]]).double().expand(3, 3).numpy()
    expected = qpcore.vjp(solution, dx=dx, dy=torch.ones(3, 1).double().numpy(), wanted=arrays)
    for name, tensor in tensors.items():
        assert tensor.grad.tolist() == getattr(expected, name).tolist(), name
    assert tensors["b"].grad[1:].abs().min() > 0.1


def test_gradcheck():
    names, tensors = list(problem()), [t.requires_grad_() for t in problem().values()]
    settings = Settings(infeasible="closest", tol=1e-12)

    def f(*values):
        return solved(**dict(zip(names, values, strict=True)), settings=settings)[:4]

    assert torch.autograd.gradcheck(f, tensors, atol=1e-6, rtol=1e-6)


def test_the_status_tells_and_throw_lets_it_pass():
    infeasible = int(Status.PRIMAL_INFEASIBLE)
    result = solved(**problem())
    assert result.status.tolist() == [int(Status.SOLVED), infeasible, infeasible]
    assert result.x.isfinite().all()
    Q, A = torch.eye(3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)
    given = problem()
    layer = QPLayer(settings=CLOSEST)
    assert torch.equal(layer(Q, given["q"], A=A, b=given["b"], lb=given["lb"]), result.x)


def test_grad_info_says_that_matrices_may_not_move():
    given = problem()
    A = torch.tensor([[1.0, 1, 1, 0]], dtype=torch.float64)
    q = torch.nn.functional.pad(given["q"], (0, 1)).requires_grad_()
    lb = torch.nn.functional.pad(given["lb"], (0, 1), value=-torch.inf)
    for moves in (False, True):
        A.requires_grad_(moves)
        result = solve_qp(torch.eye(4).double(), q, A=A, b=given["b"], lb=lb, settings=CLOSEST)
        result.x.sum().backward()
        assert result.grad_info.trusted.tolist() == [True, not moves, not moves]


def test_all_else_is_refused():
    given = problem()
    q = given.pop("q")

    def f(q):
        return weighted(q=q, **given)

    for attempt in (
        lambda: grad(f)(q),
        lambda: jvp(f, (q,), (torch.ones_like(q),)),
        lambda: torch.autograd.grad(f(q.requires_grad_()), q, create_graph=True),
    ):
        with pytest.raises(NotImplementedError, match="closest"):
            attempt()
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="closest"):
        f(forward_ad.make_dual(q.detach(), torch.ones_like(q)))


def test_compiled_code_has_the_same_gradients():
    torch._dynamo.reset()
    eager, compiled = ({k: t.requires_grad_() for k, t in problem().items()} for _ in range(2))
    weighted(**eager).backward()
    torch.compile(weighted, fullgraph=True, backend="aot_eager")(**compiled).backward()
    for name, tensor in eager.items():
        torch.testing.assert_close(tensor.grad, compiled[name].grad, rtol=1e-12, atol=1e-12)

"""The policies of Settings for derivatives that cannot be trusted, through torch."""

import pytest
from tensors import torch
from torch.func import grad, jvp

import qpcore
from qpcore import GradientError, Settings, Untrusted
from torch_bridge import solve_qp

# torch itself imports scripted code on the first use of forward mode
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


def kinked():
    """Minus the minimiser without the bound x <= 0: it binds at -1, 0 is the kink, 1 is free."""
    return torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)


def gradient(settings, q, create_graph=False):
    q = q.clone().requires_grad_()
    x = solve_qp(torch.eye(1, dtype=q.dtype), q, ub=0.0, settings=settings).x
    return torch.autograd.grad(x.sum(), q, create_graph=create_graph)[0].detach()


@pytest.mark.parametrize("create_graph", [False, True])
def test_each_policy_is_what_it_says(create_graph):
    found = {
        policy: gradient(Settings(untrusted=policy), kinked(), create_graph).flatten()
        for policy in (Untrusted.LEAVE, Untrusted.ZERO, Untrusted.NAN)
    }
    for policy, values in found.items():
        torch.testing.assert_close(values[[0, 2]], torch.tensor([0.0, -1.0]).double()), policy
    assert found[Untrusted.LEAVE][1].isfinite()
    assert found[Untrusted.ZERO][1] == 0
    assert found[Untrusted.NAN][1].isnan()
    with pytest.raises(GradientError, match="index"):
        gradient(Settings(untrusted=Untrusted.RAISE), kinked(), create_graph)


def test_the_smooth_policy_is_that_of_vjp_and_refuses_what_it_cannot_do():
    settings = Settings(untrusted=Untrusted.SMOOTH, smoothing=1e-2)
    found = gradient(settings, kinked())
    problem = {"Q": torch.eye(1).double().numpy(), "q": kinked().numpy(), "ub": 0.0}
    solution = qpcore.solve(**problem, settings=settings)
    expected = qpcore.vjp(solution, dx=torch.ones(3, 1).double().numpy()).q
    assert found.tolist() == expected.tolist()
    assert -1 < found[1] < 0

    def x(q):
        return solve_qp(torch.eye(1, dtype=q.dtype), q, ub=0.0, settings=settings).x.sum()

    with pytest.raises(NotImplementedError, match="SMOOTH"):
        gradient(settings, kinked(), create_graph=True)
    with pytest.raises(NotImplementedError, match="SMOOTH"):
        grad(x)(kinked())
    with pytest.raises(NotImplementedError, match="SMOOTH"):
        jvp(x, (kinked(),), (kinked(),))


def test_the_policies_reach_compiled_functions():
    settings = Settings(untrusted=Untrusted.NAN)
    torch._dynamo.reset()
    q = kinked().requires_grad_()
    function = torch.compile(
        lambda q: solve_qp(torch.eye(1, dtype=q.dtype), q, ub=0.0, settings=settings).x,
        fullgraph=True,
        backend="aot_eager",
    )
    function(q).sum().backward()
    assert q.grad.isnan().flatten().tolist() == [False, True, False]

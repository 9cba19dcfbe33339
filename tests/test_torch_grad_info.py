"""`QPResult.grad_info`: the certificate of a backward pass, or None where there was none."""

import numpy as np
import pytest
from problems import known
from tensors import FORM, LAYOUTS, TIGHT, loss, tensors, torch

import qpcore
from torch_bridge import solve_qp

# torch itself imports scripted code on the first use of forward mode
pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


def kinked(q):
    """Two problems: where q is 0 the bound x <= 0 is active with multiplier zero."""
    return solve_qp(torch.eye(1, dtype=q.dtype), q, ub=0.0)


@pytest.fixture
def q():
    return torch.tensor([[1.0], [0.0]], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_the_certificate_of_vjp(layout):
    problem = tensors(LAYOUTS[layout])
    result = solve_qp(**problem, settings=TIGHT)
    assert result.grad_info is None
    loss(result).backward()
    solution = qpcore.solve(**LAYOUTS[layout], settings=TIGHT)
    names = ("x", "z", "y", "z_box")
    weights = [np.arange(1.0, getattr(solution, name).shape[-1] + 1) for name in names]
    cotangents = [
        np.broadcast_to(w, getattr(solution, name).shape).copy()
        for name, w in zip(names, weights, strict=True)
    ]
    expected = qpcore.vjp(solution, *cotangents).trust
    for name, found in result.grad_info._asdict().items():
        assert found.shape == result.status.shape
        np.testing.assert_array_equal(found, getattr(expected, name), err_msg=name)


def test_it_tells_the_kink_from_its_neighbour(q):
    result = kinked(q)
    result.x.sum().backward()
    assert result.grad_info.trusted.tolist() == [True, False]
    assert result.grad_info.margin[1] < 1e-4 < result.grad_info.margin[0]


def test_a_failed_problem_has_none_to_trust():
    q = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    bound = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    result = solve_qp(torch.eye(1, dtype=q.dtype), q, lb=bound, ub=1.0, throw=False)
    result.x[0].sum().backward()
    assert result.grad_info.margin.isnan().tolist() == [False, True]
    assert not result.grad_info.trusted[1]


def test_it_is_that_of_the_latest_pass_and_only_of_plain_ones(q):
    result = kinked(q)
    result.x.sum().backward(retain_graph=True)
    first = result.grad_info
    torch.autograd.grad(result.z_box.sum(), q, create_graph=True)
    assert result.grad_info is None, "that of an earlier pass is no certificate of this one"
    result.x.sum().backward()
    for before, after in zip(first, result.grad_info, strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_results_do_not_share_it(q):
    one, other = kinked(q), kinked(q.detach()[:1].requires_grad_())
    one.x.sum().backward()
    other.x.sum().backward()
    assert one.grad_info.margin.shape == (2,)
    assert other.grad_info.margin.shape == (1,)


def test_it_survives_autocast():
    q = torch.tensor([[1.0], [0.5]], dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = solve_qp(torch.eye(1, dtype=torch.bfloat16), q, ub=0.0)
    assert result.x.dtype is torch.bfloat16
    result.x.float().sum().backward()
    assert result.grad_info.trusted.tolist() == [True, True]
    assert result.grad_info.margin.dtype is torch.float32


def test_it_is_none_where_no_plain_pass_comes_by(q):
    assert kinked(q.detach()).grad_info is None
    seen = []

    def f(q):
        result = kinked(q)
        seen.append(result.grad_info)
        return result.x.sum()

    torch.func.grad(f)(q.detach())
    torch.func.jvp(f, (q.detach(),), (torch.ones_like(q),))
    torch.func.vmap(f)(q.detach()[:, None])
    assert seen == [None, None, None]


def test_it_is_none_behind_compiled_code(q):
    torch._dynamo.reset()
    result = torch.compile(kinked, fullgraph=True, backend="aot_eager")(q)
    result.x.sum().backward()
    assert q.grad is not None
    assert result.grad_info is None


def test_a_checkpoint_keeps_it(q):
    result = torch.utils.checkpoint.checkpoint(kinked, q, use_reentrant=False)
    result.x.sum().backward()
    assert result.grad_info.trusted.tolist() == [True, False]


def test_a_result_stays_a_tuple_of_six():
    assert len(solve_qp(**tensors(known(FORM, 1).data))) == 6

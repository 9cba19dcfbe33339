"""Problems without an answer, and arguments that are no problem, through torch_bridge."""

import subprocess
import sys

import cases
import numpy as np
import pytest
from problems import known
from tensors import FORM, gradients, loss, tensors, torch

from qpcore import ProblemError, Settings, SolveError, Status
from torch_bridge import QPLayer, QPResult, solve_qp


def spoiled(status):
    """A batch of three with a failing problem in second place; the places of the good ones."""
    data, good = cases.beside(
        known(cases.OPEN, 13, (3,)).data, [cases.failing(status, cases.OPEN, 14)], [1]
    )
    return data, good


@pytest.mark.parametrize("status", cases.FAILURES)
def test_failure_raises_and_hands_over_what_was_computed(status):
    data, good = spoiled(status)
    for call in (solve_qp, QPLayer()):
        with pytest.raises(SolveError, match=status) as error:
            call(**tensors(data))
        assert (error.value.solution.status[good] == Status.SOLVED).all()


@pytest.mark.parametrize("status", cases.FAILURES)
def test_failed_problem_left_out_of_the_loss_adds_exactly_zero(status):
    data, good = spoiled(status)
    problem = tensors(data)
    result = solve_qp(**problem, throw=False)
    assert result.status.tolist() == [0, Status[status], 0, 0]
    solved = result.status == Status.SOLVED
    loss(QPResult(*(part[solved] for part in result))).backward()

    alone = tensors({name: value[good] for name, value in data.items()})
    loss(solve_qp(**alone)).backward()
    for name, tensor in problem.items():
        assert torch.equal(tensor.grad[1], torch.zeros_like(tensor.grad[1])), name
        assert torch.equal(tensor.grad[good], alone[name].grad), name
        assert tensor.grad.isfinite().all(), name


def test_trace_changes_no_gradient_and_comes_with_the_error():
    traced, plain = (
        gradients(tensors(known(FORM, 3, (4,)).data), Settings(tol=1e-12, trace=trace))
        for trace in (True, False)
    )
    for ours, theirs in zip(traced.values(), plain.values(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(SolveError) as error:
        solve_qp(
            torch.eye(2), torch.ones(2), lb=1.0, ub=torch.zeros(2), settings=Settings(trace=True)
        )
    assert error.value.solution.trace.mu.shape == (1,)


def test_failed_problem_in_the_loss_shows_as_nan():
    problem = tensors(spoiled("PRIMAL_INFEASIBLE")[0])
    solve_qp(**problem, throw=False).x.sum().backward()
    assert problem["q"].grad[1].isnan().all()
    assert problem["q"].grad[[0, 2, 3]].isfinite().all()


def test_shared_argument_gets_the_gradient_of_the_solved_problems():
    data = dict(known(FORM, 15, (3,), shared=("Q", "G", "A")).data)
    alone = tensors({name: v if name in "QGA" else v[:2] for name, v in data.items()})
    data["q"] = data["q"] + np.array([0.0, 0.0, np.nan])[:, None]
    problem = tensors(data)
    result = solve_qp(**problem, throw=False)
    result.x[result.status == Status.SOLVED].sum().backward()
    solve_qp(**alone).x.sum().backward()
    for name in ("Q", "G", "A"):
        torch.testing.assert_close(problem[name].grad, alone[name].grad, rtol=1e-12, atol=1e-12)


WRONG = {
    "a list": ("q", lambda t: t.tolist(), "q is a list; expected a torch.Tensor"),
    "an array": ("G", lambda t: t.numpy(), "G is a ndarray; expected a torch.Tensor"),
    "a float for a vector": ("q", lambda t: 1.0, "q is a float; expected a torch.Tensor"),
    "a bool": ("lb", lambda t: True, "lb is a bool; expected a torch.Tensor or a float"),
    "nothing": ("q", lambda t: None, "q is a NoneType; expected a torch.Tensor"),
    "another dtype": (
        "b",
        lambda t: t.float(),
        "b has dtype torch.float32; expected torch.float64",
    ),
    "integers": ("Q", lambda t: t.long(), "Q has dtype torch.int64; expected torch.float64 or"),
    "half precision": (
        "h",
        lambda t: t.half(),
        "h has dtype torch.float16; expected torch.float64",
    ),
    "complex": ("A", lambda t: t + 0j, "A has dtype torch.complex128; expected torch.float64"),
    "sparse": ("G", lambda t: t.to_sparse(), "G has layout torch.sparse_coo; expected a dense"),
    "another device": (
        "ub",
        lambda t: t.to("meta"),
        "ub lies on meta; expected the CPU or a CUDA device",
    ),
    "another size": ("q", lambda t: t[:3], "q has shape"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_argument_is_named(kind):
    name, spoil, message = WRONG[kind]
    problem = tensors(known(FORM, 1).data, grad=False)
    with pytest.raises(ProblemError, match=message):
        solve_qp(**problem | {name: spoil(problem[name])})


def test_import_without_torch_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import torch_bridge"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "ImportError: torch_bridge needs PyTorch" in run.stderr
    assert "pip install qpcore[torch]" in run.stderr

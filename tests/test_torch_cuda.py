"""Tensors on a GPU, as far as that shows without one: all that happens around a launch."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from pretend_gpu import STREAM, pretend_gpu  # noqa: F401
from problems import Form, known
from tensors import FORM, LAYOUTS, TIGHT, gradients, loss, tensors, torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import qpcore
from qpcore import DeviceError, GradientError, ProblemError, Settings, Untrusted, devices, stages
from torch_bridge import solve_qp

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")

OPERATORS = ("solve", "kkt_solve", "gradients")

# Operations that hand numbers to the host, or wait until it has them.
HOST_READS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.masked_select.default",
    "aten.equal.default",
    "aten.index.Tensor",
}

# x is at its bound with multiplier zero in the first problem, not in the second.
DEGENERATE = {"Q": np.eye(2), "q": np.array([[0.0, -1.0], [1.0, -1.0]]), "lb": np.zeros(2)}


# ---- the same answers as on the CPU --------------------------------------------------------------


def both(function, monkeypatch):
    """What a function of nothing gives with tensors on the CPU, and where they pass for CUDA's."""
    there = function()
    monkeypatch.undo()
    monkeypatch.setattr(stages, "way_in", lambda problem, settings, alone: "interior")  # as there
    return there, function()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_answers_and_gradients_are_those_of_the_cpu(layout, pretend_gpu, monkeypatch):  # noqa: F811
    def solved():
        problem = tensors(LAYOUTS[layout])
        result = solve_qp(**problem, settings=TIGHT)
        return result, gradients(problem)

    (result, found), (expected, right) = both(solved, monkeypatch)
    for ours, theirs in zip(result, expected, strict=True):
        assert torch.equal(ours, theirs)
    for name, gradient in right.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-12, atol=1e-12)
    assert {task for task, *_ in pretend_gpu.launches} == {"solve", "adjoint"}


def test_derivatives_of_every_kind_are_those_of_the_cpu(pretend_gpu, monkeypatch):  # noqa: F811
    problem = tensors(known(FORM, 1).data, grad=False)

    def x(q):
        return solve_qp(**problem | {"q": q}, settings=TIGHT).x

    def derived():
        q, dq = problem["q"], torch.linspace(-1, 1, 4, dtype=torch.float64)
        batch = torch.stack([q, q + dq / 100])
        return (
            torch.func.jvp(x, (q,), (dq,))[1],
            torch.func.jacrev(x)(q),
            torch.func.jacfwd(x)(q),
            torch.func.hessian(lambda q: x(q).square().sum())(q),
            torch.func.vmap(x)(batch),
        )

    found, expected = both(derived, monkeypatch)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("policy", [Untrusted.LEAVE, Untrusted.ZERO, Untrusted.NAN])
def test_policies_and_certificates_are_those_of_the_cpu(policy, pretend_gpu, monkeypatch):  # noqa: F811
    settings = Settings(untrusted=policy)

    def solved():
        problem = tensors(DEGENERATE)
        result = solve_qp(**problem, settings=settings)
        found = torch.autograd.grad(loss(result), list(problem.values()))
        return *found, *result.grad_info

    found, expected = both(solved, monkeypatch)
    assert expected[-1].tolist() == [False, True]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_a_failed_problem_is_spoiled_alone(pretend_gpu, monkeypatch):  # noqa: F811
    data = {"Q": np.eye(2), "q": np.zeros((2, 2)), "A": np.ones((1, 2))}
    data |= {"b": np.array([[1.0], [-1.0]])}

    def solved():
        problem = tensors(data | {"lb": np.zeros(2)})
        x = solve_qp(**problem, throw=False).x
        used = torch.autograd.grad(x[0].sum(), problem["q"], retain_graph=True)
        return *used, *torch.autograd.grad(x.sum(), problem["q"])

    for ours, theirs in zip(*both(solved, monkeypatch), strict=True):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


# ---- how it is launched --------------------------------------------------------------------------


class HostReads(TorchDispatchMode):
    """Notes operations that would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.seen, self.all = [], set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.all.add(str(function))
        if str(function) in HOST_READS:
            self.seen.append(str(function))
        return function(*args, **kwargs or {})


def test_nothing_waits_for_the_gpu(pretend_gpu):  # noqa: F811
    problem = tensors(known(FORM, 2, (3,), shared=("Q", "A")).data, grad=False) | {"lb": -5.0}
    with HostReads() as reads:  # which does not look into an operator
        solution = qpcore.solve(**problem, throw=False)
        qpcore.vjp(solution, dx=solution.x, dz_box=solution.z_box)
    assert not reads.seen
    assert {"aten.new_empty.default", "aten.where.self"} <= reads.all  # it does look
    with HostReads() as reads:
        bool(solution.x.sum() > 0)
    assert reads.seen


def test_launches_are_on_the_tensors_own_device_and_the_callers_stream(pretend_gpu):  # noqa: F811
    problem = tensors(known(FORM, 3).data)
    loss(solve_qp(**problem)).backward()
    assert pretend_gpu.launches == [("solve", 0, STREAM), ("adjoint", 0, STREAM)]


def test_operators_have_code_for_cuda():
    for name in OPERATORS:
        has = torch._C._dispatch_has_kernel_for_dispatch_key
        assert has(f"qpcore::{name}", "CUDA")
        assert has(f"qpcore::{name}", "CPU")
        assert not has(f"qpcore::{name}", "MPS")


def test_tracers_see_cuda_tensors_come_out_where_they_went_in():
    with FakeTensorMode(allow_non_fake_inputs=False):
        Q = torch.empty(7, 3, 3, device="cuda", dtype=torch.float64)
        q, G = (torch.empty(*shape, device="cuda", dtype=Q.dtype) for shape in ((7, 3), (2, 3)))
        result = torch.ops.qpcore.solve("{}", False, [Q, q, G, *6 * [None]])
    assert {part.device.type for part in result} == {"cuda"}
    assert [tuple(part.shape) for part in result] == [(7, 3), (7, 2), (7, 0), (7, 3), (7,), (7,)]


def test_an_argument_left_on_the_cpu_is_named():
    with FakeTensorMode():
        Q = torch.empty(3, 3, device="cuda")
        with pytest.raises(ProblemError, match=r"q lies on cpu; expected cuda:0, where Q is"):
            solve_qp(Q, torch.empty(3))


# ---- what does not go there ----------------------------------------------------------------------


def test_what_needs_the_host_is_refused_with_a_way_out(pretend_gpu):  # noqa: F811
    data = tensors(known(Form(3, 2), 4).data, grad=False)
    for settings in (Settings(infeasible="closest"), Settings(trace=True)):
        with pytest.raises(ProblemError, match="needs NumPy arrays"):
            qpcore.solve(**data, settings=settings)
    with pytest.raises(ProblemError, match="device is 'cpu'"):
        qpcore.solve(**data, device="cpu")
    solution = qpcore.solve(**data, settings=Settings(untrusted=Untrusted.SMOOTH))
    with pytest.raises(NotImplementedError, match="SMOOTH"):
        qpcore.vjp(solution, dx=solution.x)
    with pytest.raises(NotImplementedError, match=r"torch\.func\.jvp"):
        qpcore.jvp(solution, q=data["q"])
    with pytest.raises(ProblemError, match="dx is a Tensor of shape"):
        qpcore.vjp(qpcore.solve(**data), dx=solution.x[:2])
    with pytest.raises(ProblemError, match="dz is a ndarray"):
        qpcore.vjp(qpcore.solve(**data), dz=np.zeros(2))


def test_a_problem_without_a_derivative_is_named_where_that_is_asked_for(pretend_gpu):  # noqa: F811
    result = solve_qp(**tensors(DEGENERATE), settings=Settings(untrusted=Untrusted.RAISE))
    with pytest.raises(GradientError, match=r"1 of 2 problems .* index \(0,\)"):
        loss(result).backward()


# ---- what is missing for a GPU -------------------------------------------------------------------


def module(available, error):
    driver = SimpleNamespace(driver=SimpleNamespace(initialization_error=error))
    return {
        "numba.cuda": SimpleNamespace(is_available=lambda: available),
        "numba.cuda.cudadrv.driver": driver,
    }


MISSING = {
    "the extra": (None, None, r"pip install 'qpcore\[cuda\]'"),
    "a driver": (object(), module(False, "CUDA_ERROR 100:\n no driver"), "580 or newer.*no driver"),
    "a GPU": (object(), module(False, None), "`nvidia-smi` should list one"),
}


@pytest.mark.parametrize("missing", MISSING)
def test_the_error_says_what_is_missing_and_how_to_get_it(missing, monkeypatch):
    found, modules, message = MISSING[missing]
    devices.obstacle.cache_clear()
    monkeypatch.setattr(devices, "find_spec", lambda name: found)
    imported = importlib.import_module
    monkeypatch.setattr(
        devices.importlib, "import_module", lambda name: (modules or {}).get(name) or imported(name)
    )
    monkeypatch.setattr(devices, "is_on_gpu", lambda value: isinstance(value, torch.Tensor))
    try:
        with pytest.raises(DeviceError, match=f"(?s){message}"):
            solve_qp(**tensors(known(FORM, 5).data))
        with pytest.raises(DeviceError, match=f"(?s){message}"):
            qpcore.solve(np.eye(2), np.ones(2), device="cuda")
    finally:
        devices.obstacle.cache_clear()

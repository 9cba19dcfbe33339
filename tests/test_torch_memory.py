"""solve_qp copies nothing that it need not copy, and takes tensors of any layout."""

import gc
import tracemalloc

import numpy as np
import pytest
from problems import known, paper
from tensors import ARGUMENTS, FORM, TIGHT, gradients, loss, tensors, torch

import qpcore
from qpcore import reuse
from torch_bridge import solve_qp
from torch_bridge.operators import encoded, to_arrays


class Spy:
    """Stands in for a function, calls it, and keeps what went in and out."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs
        self.result = self.function(*args, **kwargs)
        return self.result


def address(value):
    return (
        value.data_ptr()
        if isinstance(value, torch.Tensor)
        else value.__array_interface__["data"][0]
    )


def test_nothing_is_copied_on_the_way_in_and_out(monkeypatch):
    solve, vjp = Spy(qpcore.solve), Spy(qpcore.vjp)
    monkeypatch.setattr(qpcore, "solve", solve)
    monkeypatch.setattr(qpcore, "vjp", vjp)
    problem = tensors(known(FORM, 1, (3,)).data)
    result = solve_qp(**problem)
    assert {n: address(solve.kwargs[n]) for n in problem} == {
        n: address(t) for n, t in problem.items()
    }
    for name, part in result._asdict().items():
        assert address(part) == address(getattr(solve.result, name)), name

    captured = torch.autograd.grad(loss(result), list(problem.values()))
    solution = vjp.args[0]
    for name in ("x", "z", "y", "z_box", "status", "iterations"):
        assert address(getattr(solution, name)) == address(getattr(result, name)), name
    for name, gradient in zip(problem, captured, strict=True):
        assert address(getattr(solution.problem, name)) == address(problem[name]), name
        assert address(gradient) == address(getattr(vjp.result, name)), name


def test_cotangents_of_unused_answers_are_not_made(monkeypatch):
    vjp = Spy(qpcore.vjp)
    monkeypatch.setattr(qpcore, "vjp", vjp)
    solve_qp(**tensors(known(FORM, 1).data)).y.sum().backward()
    given = vjp.args[1:]
    assert [c is not None for c in given] == [False, False, True, False]


def test_no_matrix_per_problem_is_made_for_a_shared_argument():
    batch, n = 2048, 32
    data = paper(n, 8, 4, 0)
    problem = tensors(data | {"q": np.random.default_rng(1).standard_normal((batch, n))})
    loss(solve_qp(**problem)).backward()  # compiles, and fills caches
    for tensor in problem.values():
        tensor.grad = None
    tracemalloc.start()
    try:
        loss(solve_qp(**problem)).backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem["Q"].grad.shape == (n, n)
    assert peak < batch * n * n * 8 / 2, f"peak {peak / 2**20:.1f} MiB"


FORWARD_AND_BACK = {
    "vjp": lambda data, settings: (
        qpcore.vjp(
            answer := qpcore.solve(**data, settings=settings, throw=False),
            dx=np.broadcast_to(1.0, answer.x.shape),
        ),
        answer,
    ),
    "torch": lambda data, settings: (
        solve_qp(**tensors(data), settings=settings, throw=False).x.sum().backward()
    ),
}


@pytest.mark.parametrize("way", FORWARD_AND_BACK)
@pytest.mark.parametrize(
    ("n", "m", "p", "box", "batch"),
    [(100, 100, 0, 0, 4096), (100, 100, 20, 0, 4096), (30, 60, 10, 1, 16384)],
)
def test_shared_matrices_need_little_more_than_what_comes_out(n, m, p, box, batch, way):
    """Answers alone take 1.5 B (n + m + p) numbers, and gradients 1 (1.3 and 1.6 with bounds).

    What does not grow with the batch, less than a megabyte, adds 0.1 to that at most.
    """
    rng = np.random.default_rng(2)
    data = paper(n, m, 5, p)
    x = rng.standard_normal((batch, n))
    data |= {"q": x, "h": x @ data["G"].T + 1}
    data |= {"b": x @ data["A"].T} if p else {}
    data |= {"lb": x - 1, "ub": x + 1} if box else {}
    settings = qpcore.Settings(threads=1, max_iterations=1)  # the work on each does not matter
    run, few = FORWARD_AND_BACK[way], {k: v[:8] if len(v) == batch else v for k, v in data.items()}
    run(few, settings)  # compiles, and fills caches
    reuse.forget()
    gc.collect()
    tracemalloc.start()
    try:
        run(data, settings)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    units = peak / (batch * (n + m + p) * 8)
    assert units < 3, f"{units:.2f}"


def with_lazy_negation(tensor):
    """Equal values, stored negated, as complex conjugation leaves them."""
    return torch.complex(torch.zeros_like(tensor), -tensor).conj().imag


STRIDES = {
    "transposed": lambda t: t.mT.contiguous().mT,
    "every second": lambda t: torch.stack([t, t + 7], -1).flatten(-2)[..., ::2],
    "offset": lambda t: torch.cat([t + 7, t])[len(t) :],
    "lazily negated": with_lazy_negation,
}


@pytest.mark.parametrize("strides", STRIDES)
def test_strides_do_not_change_answers_or_gradients(strides):
    data = known(FORM, 10, (3,)).data
    plain = tensors(data)
    strange = {name: STRIDES[strides](t.detach()).requires_grad_() for name, t in plain.items()}
    for name in plain:
        assert torch.equal(plain[name], strange[name])
    for found, expected in zip(solve_qp(**strange), solve_qp(**plain), strict=True):
        assert torch.equal(found, expected)
    found, expected = gradients(strange), gradients(plain)
    for name in plain:
        assert torch.equal(found[name], expected[name]), name


def test_expanded_arguments_equal_shared_ones():
    data = known(FORM, 11, (3,), shared=("Q", "G", "A")).data
    shared, bases = tensors(data), tensors(data)
    expanded = bases | {name: bases[name].expand(3, -1, -1) for name in ("Q", "G", "A")}
    for found, expected in zip(solve_qp(**expanded), solve_qp(**shared), strict=True):
        assert torch.equal(found, expected)
    loss(solve_qp(**expanded, settings=TIGHT)).backward()
    for name, expected in gradients(shared).items():
        torch.testing.assert_close(bases[name].grad, expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_each_copy_of_an_expanded_argument_are_its_own():
    data = known(FORM, 12, (3,), shared=("Q", "G", "A")).data
    copied = tensors(data | {name: np.stack([data[name]] * 3) for name in ("Q", "G", "A")})
    expanded = dict(copied)
    for name in ("Q", "G", "A"):
        base = torch.tensor(data[name], requires_grad=True)
        expanded[name] = base.expand(3, -1, -1)
    found, expected = gradients(expanded), gradients(copied)
    for name in copied:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)


def test_empty_batch():
    problem = tensors(known(FORM, 1, (1,), shared=("Q", "G", "A")).data)
    problem = {
        n: t if t.ndim == 2 and n in "QGA" else t.detach()[:0].requires_grad_()
        for n, t in problem.items()
    }
    assert solve_qp(**problem).x.shape == (0, 4)
    for name, gradient in gradients(problem).items():
        assert torch.equal(gradient, torch.zeros_like(problem[name]))


def test_zeros_without_memory_are_zeros():
    # Forward mode makes them; NumPy's own from_dlpack reads them from wherever they point.
    zeros = torch._efficientzerotensor((3,), dtype=torch.float64)
    assert zeros._is_zerotensor()
    assert to_arrays([zeros])[0].tolist() == [0.0, 0.0, 0.0]
    data = tensors(known(FORM, 1).data, grad=False)
    answer, problem = solve_qp(**data), [data.get(name) for name in ARGUMENTS]
    right = [torch._efficientzerotensor(part.shape, dtype=part.dtype) for part in answer[:4]]
    inputs = (encoded(TIGHT), right, problem, list(answer))
    for part in torch.ops.qpcore.kkt_solve(*inputs):
        assert torch.equal(part, torch.zeros_like(part))

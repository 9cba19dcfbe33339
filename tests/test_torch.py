"""solve_qp and its layers are PyTorch functions like any other."""

import copy
import pickle
import subprocess
import sys
import tracemalloc

import cases
import numpy as np
import pytest
from problems import Form, known, paper

import qpcore
from qpcore import ProblemError, Settings, SolveError, Status

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")

from torch.autograd import forward_ad, gradcheck  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from torch_bridge import OptNetLayer, QPLayer, QPResult, solve_qp  # noqa: E402

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


# ---- memory


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


# ---- autograd


def test_second_derivative_raises():
    problem = tensors(known(FORM, 1).data)
    Q = problem["Q"]
    # Linear in x: without care, the gradient would come back without a graph and this would pass.
    (gradient,) = torch.autograd.grad(solve_qp(**problem).x.sum(), Q, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        (gradient * Q).sum().backward()
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        torch.autograd.functional.hessian(lambda q: solve_qp(Q, q).x.sum(), problem["q"])


# torch itself imports scripted code on the first use of forward mode
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_raises():
    problem = tensors(known(FORM, 1).data)
    with forward_ad.dual_level():
        problem["q"] = forward_ad.make_dual(problem["q"], torch.ones_like(problem["q"]))
        with pytest.raises(NotImplementedError, match="forward mode AD"):
            solve_qp(**problem)


def test_vmap_raises():
    problem = tensors(known(FORM, 1, (3,), shared=("Q",)).data, grad=False)
    with pytest.raises(RuntimeError, match="vmap support"):
        torch.vmap(lambda q: solve_qp(problem["Q"], q).x)(problem["q"])


def test_torch_func_grad():
    problem = tensors(known(FORM, 1).data)
    found = torch.func.grad(lambda q: loss(solve_qp(**problem | {"q": q}, settings=TIGHT)))(
        problem["q"]
    )
    assert torch.equal(found, gradients(problem)["q"])


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


# ---- failures


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
        "ub lies on meta; expected the CPU. CUDA tensors",
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


# ---- layers


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return OptNetLayer(5, 7, 2, dtype=torch.float64)


def data_of(layer):
    """Q, G, h, A, b of a layer, by the formulas of its docstring."""
    L = layer.L.tril()
    Q = L @ L.T + layer.eps * torch.eye(layer.n, dtype=L.dtype)
    return Q, layer.G, layer.G @ layer.x0 + layer.log_s0.exp(), layer.A, layer.A @ layer.x0


def test_qp_layer_returns_the_minimiser():
    problem = tensors(known(FORM, 1, (2,)).data)
    layer = QPLayer(settings=TIGHT)
    assert torch.equal(layer(**problem), solve_qp(**problem, settings=TIGHT).x)
    assert "tol=1e-12" in repr(layer)
    assert not list(layer.parameters())


def test_optnet_layer_solves_its_qp(layer):
    q = torch.randn(3, 4, 5, dtype=torch.float64)
    Q, G, h, A, b = data_of(layer)
    torch.testing.assert_close(layer(q), solve_qp(Q, q, G, h, A, b).x, rtol=0, atol=1e-12)


def test_optnet_layer_starts_as_in_the_paper(layer):
    assert torch.equal(layer.L, layer.L.tril())
    assert ((layer.L >= 0) & (layer.L < 1)).all()
    assert (layer.G.abs() <= 1).all()
    assert (layer.G < 0).any()
    assert ((layer.A >= 0) & (layer.A < 1)).all()
    _, _, h, _, b = data_of(layer)
    assert torch.equal(h, torch.ones_like(h))
    assert torch.equal(b, torch.zeros_like(b))


@pytest.mark.parametrize(("m", "p"), [(0, 0), (3, 0), (0, 2)])
def test_optnet_layer_without_some_blocks(m, p):
    layer = OptNetLayer(4, m, p, dtype=torch.float64)
    q = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    x = layer(q)
    x.square().sum().backward()
    assert x.shape == q.grad.shape == (6, 4)
    assert layer.L.grad.triu(1).abs().max() == 0


def test_optnet_layer_gradients(layer):
    q = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    layer.settings = TIGHT
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(q, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (q,))

    # The ill-conditioned Q of the initial values costs two digits.
    assert gradcheck(run, (q, *values), eps=1e-5, atol=1e-5, rtol=1e-5)


def test_optnet_layer_stays_feasible_while_it_learns(layer):
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.3)
    q, target = torch.randn(2, 16, 5, dtype=torch.float64)
    losses = []
    for _ in range(20):
        x = layer(q)
        _, G, h, A, b = data_of(layer)
        with torch.no_grad():
            assert ((x @ G.T - h) <= 1e-6).all()
            torch.testing.assert_close(x @ A.T, b.expand(16, 2), rtol=1e-6, atol=1e-6)
        losses.append((x - target).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_optnet_layer_in_single_precision():
    torch.manual_seed(0)
    layer = OptNetLayer(5, 7, 2, eps=0.1, dtype=torch.float32)
    double = copy.deepcopy(layer).double()
    q = torch.randn(8, 5)
    x, reference = layer(q), double(q.double())
    assert x.dtype == torch.float32
    # The default tolerance of 1e-5 in single precision, times the condition of Q.
    torch.testing.assert_close(x, reference.float(), rtol=1e-3, atol=1e-3)
    x.sum().backward()
    reference.sum().backward()
    for single, exact in zip(layer.parameters(), double.parameters(), strict=True):
        assert single.grad.dtype == torch.float32
        torch.testing.assert_close(single.grad, exact.grad.float(), rtol=2e-2, atol=2e-2)


def through_state_dict(layer):
    torch.manual_seed(1)
    other = OptNetLayer(layer.n, layer.m, layer.p, dtype=torch.float64)
    other.load_state_dict(layer.state_dict())
    return other


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "state_dict": through_state_dict,
}


@pytest.mark.parametrize("how", COPIES)
def test_optnet_layer_can_be_copied_and_stored(layer, how):
    q = torch.randn(3, 5, dtype=torch.float64)
    layer(q).sum().backward()
    twin = COPIES[how](layer)
    assert torch.equal(twin(q), layer(q))
    assert repr(twin) == repr(layer)
    with torch.no_grad():
        twin.x0 += 1
    assert not torch.equal(twin.x0, layer.x0)


def test_optnet_layer_shows_its_sizes(layer):
    assert "OptNetLayer(n=5, m=7, p=2, eps=0.0001" in repr(layer)


@pytest.mark.parametrize("sizes", [(0,), (3, -1), (3, 0, -1)])
def test_optnet_layer_rejects_sizes(sizes):
    with pytest.raises(ProblemError, match="expected n >= 1"):
        OptNetLayer(*sizes)

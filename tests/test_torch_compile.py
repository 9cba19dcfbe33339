"""torch.compile and torch.export: solve_qp is one node of the graph, with nothing lost."""

import shutil

import numpy as np
import pytest
from problems import known
from tensors import TIGHT, loss, tensors, torch
from test_torch_derivatives import LAYOUTS, MILD
from torch._dynamo.testing import CompileCounterWithBackend
from torch.autograd import forward_ad
from torch.library import opcheck
from torch.utils._python_dispatch import TorchDispatchMode

from qpcore import Settings, SolveError
from torch_bridge import OptNetLayer, QPLayer, solve_qp
from torch_bridge.operators import decoded, encoded

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch")


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch._dynamo.reset()


def compiled(function, **options):
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


def whole(problem, settings=TIGHT):
    return solve_qp(**problem, settings=settings)


# ---- operators


class Watcher(TorchDispatchMode):
    """Notes every operator."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.namespace + "::" + func._schema.name.partition("::")[2])
        return func(*args, **(kwargs or {}))


def test_whoever_watches_operators_sees_ours():
    def there_and_back():
        problem = tensors(known(MILD, 1).data)
        loss(whole(problem)).backward()
        return {name: tensor.grad for name, tensor in problem.items()}

    unwatched = there_and_back()
    with Watcher() as watcher:
        watched = there_and_back()
    assert {"qpcore::solve", "qpcore::gradients"} <= set(watcher.seen)
    with torch.autograd.profiler.profile() as profile:
        there_and_back()
    assert {"qpcore::solve", "qpcore::gradients"} <= {event.key for event in profile.key_averages()}
    assert all(torch.equal(watched[name], unwatched[name]) for name in unwatched)


def operands(layout, grad=False):
    """The problem as operators take it, and the answer to it."""
    problem = tensors(LAYOUTS[layout], grad=grad)
    names = ("Q", "q", "G", "h", "A", "b", "lb", "ub", "h_lower")
    answer = [part.detach() for part in whole(problem)]
    return [problem.get(name) for name in names], answer


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("grad", [False, True])
def test_opcheck_of_the_solver(layout, grad):
    opcheck(torch.ops.qpcore.solve.default, (encoded(TIGHT), True, operands(layout, grad)[0]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("given", [(True,) * 4, (True, False, False, True)])
def test_opcheck_of_what_derivatives_call(layout, given):
    problem, answer = operands(layout)
    right = [part if there else None for part, there in zip(answer, given, strict=False)]
    opcheck(torch.ops.qpcore.kkt_solve.default, (encoded(TIGHT), right, problem, answer))
    wanted = [tensor is not None and i % 2 == 0 for i, tensor in enumerate(problem)]
    inputs = (encoded(TIGHT), wanted, right, problem, answer)
    opcheck(torch.ops.qpcore.gradients.default, inputs)


@pytest.mark.parametrize("name", ["kkt_solve", "gradients"])
def test_operators_without_a_derivative_refuse_to_be_differentiated(name):
    problem, answer = operands("single", grad=True)
    middle = ([True] * 9,) if name == "gradients" else ()
    operator = getattr(torch.ops.qpcore, name)
    with pytest.raises(NotImplementedError, match=f"qpcore::{name} cannot be transformed"):
        operator(encoded(TIGHT), *middle, answer[:4], problem, answer)
    with forward_ad.dual_level():
        answer[0] = forward_ad.make_dual(answer[0], answer[0])
        problem = [tensor.detach() for tensor in problem]
        with pytest.raises(NotImplementedError, match=f"qpcore::{name} cannot be transformed"):
            operator(encoded(TIGHT), *middle, answer[:4], problem, answer)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(tol=1e-9, max_iterations=7, threads=2, trace=True),
        Settings(tol=np.float32(1e-3), max_iterations=np.int64(7), trace=np.bool_(True)),
    ],
)
def test_settings_survive_being_text(settings):
    assert decoded(encoded(settings)) == settings


# ---- compiled functions


@pytest.mark.parametrize("layout", LAYOUTS)
def test_compiled_and_eager_agree_bit_for_bit(layout):
    problem, twin = tensors(LAYOUTS[layout]), tensors(LAYOUTS[layout])
    results = compiled(whole)(problem), whole(twin)
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)
    for result in results:
        loss(result).backward()
    for name, tensor in problem.items():
        assert torch.equal(tensor.grad, twin[name].grad), name


def test_one_graph_serves_every_batch_size():
    counter = CompileCounterWithBackend("aot_eager")
    function = torch.compile(whole, fullgraph=True, backend=counter, dynamic=True)
    counts = []
    for batch in (2, 3, 7, 16):
        data = known(MILD, batch, (batch,), shared=("Q", "G", "A")).data
        problem, twin = tensors(data), tensors(data)
        found, expected = function(problem), whole(twin)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        for result in (found, expected):
            loss(result).backward()
        for name, tensor in problem.items():
            assert torch.equal(tensor.grad, twin[name].grad), name
        counts.append(counter.frame_count)
    assert len(set(counts)) == 1


@pytest.mark.parametrize("dynamic", [False, True])
def test_other_settings_compile_anew(dynamic):
    layer = QPLayer(Settings(tol=1e-2))
    function = compiled(layer, dynamic=dynamic)
    problem = tensors(LAYOUTS["batched"], grad=False)
    for settings in (Settings(tol=1e-2), Settings(), Settings(tol=1e-3, max_iterations=400)):
        layer.settings = settings
        expected = solve_qp(**problem, settings=settings)
        assert torch.equal(function(**problem), expected.x)


def test_settings_need_not_be_given():
    problem = tensors(LAYOUTS["single"], grad=False)
    assert torch.equal(compiled(lambda data: solve_qp(**data).x)(problem), solve_qp(**problem).x)


def test_failure_raises_when_the_compiled_function_runs():
    problem = tensors(LAYOUTS["single"], grad=False)
    function = compiled(whole)
    function(problem)
    with pytest.raises(SolveError, match="NONFINITE_INPUT") as error:
        function(problem | {"q": problem["q"] * torch.nan})
    assert error.value.solution.status == 6


def test_layers_train_alike_compiled_and_not():
    torch.manual_seed(0)
    q, target = torch.randn(2, 8, 5, dtype=torch.float64)
    states = []
    for wrap in (compiled, lambda layer: layer):
        torch.manual_seed(1)
        layer = OptNetLayer(5, 7, 2, dtype=torch.float64)
        optimizer, call = torch.optim.Adam(layer.parameters(), lr=0.1), wrap(layer)
        for _ in range(5):
            optimizer.zero_grad()
            (call(q) - target).square().mean().backward()
            optimizer.step()
        states.append(layer.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-10, atol=1e-10)


def test_tangents_from_outside_are_refused_not_dropped():
    problem = tensors(LAYOUTS["single"], grad=False)
    function = compiled(lambda q: solve_qp(**problem | {"q": q}).x)
    function(problem["q"])
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(problem["q"], problem["q"])
        with pytest.raises(Exception, match="cannot be differentiated in forward mode"):
            function(dual)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_agrees_too():
    problem, twin = tensors(LAYOUTS["shared"]), tensors(LAYOUTS["shared"])
    function = torch.compile(lambda data: loss(whole(data)), fullgraph=True)
    function(problem).backward()
    loss(whole(twin)).backward()
    for name, tensor in problem.items():
        torch.testing.assert_close(tensor.grad, twin[name].grad, rtol=1e-12, atol=1e-12)


# ---- export


class Chain(torch.nn.Module):
    """Linear layer, QP, loss: what one would export."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.score = torch.nn.Linear(3, 4, dtype=torch.float64)

    def forward(self, features, *problem):
        scores = self.score(features)
        if problem:
            Q, G, h = problem
            return self.layer(Q, scores, G, h, lb=-1.0)
        return self.layer(scores)


def chains():
    Q, G = torch.eye(4, dtype=torch.float64), torch.ones(2, 4, dtype=torch.float64)
    h = torch.tensor([0.5, 0.7], dtype=torch.float64)
    yield Chain(QPLayer(TIGHT)), (Q, G, h)
    yield Chain(OptNetLayer(4, 3, 1, dtype=torch.float64)), ()


@pytest.mark.parametrize("strict", [False, True])
def test_exported_layers_run_and_train_at_any_batch_size(strict, tmp_path):
    torch.manual_seed(0)
    for chain, problem in chains():
        features = torch.randn(5, 3, dtype=torch.float64)
        batch = {0: torch.export.Dim("batch")}
        shapes = (batch, (None,) * len(problem)) if problem else (batch,)
        exported = torch.export.export(
            chain, (features, *problem), dynamic_shapes=shapes, strict=strict
        )
        torch.export.save(exported, tmp_path / "chain.pt2")
        module = torch.export.load(tmp_path / "chain.pt2").module()
        more = torch.randn(9, 3, dtype=torch.float64)
        torch.testing.assert_close(module(more, *problem), chain(more, *problem))
        module(more, *problem).square().sum().backward()
        chain(more, *problem).square().sum().backward()
        found = dict(module.named_parameters())
        for name, parameter in chain.named_parameters():
            torch.testing.assert_close(found[name].grad, parameter.grad)


def test_an_exported_module_has_second_derivatives_and_tangents():
    problem = tensors(LAYOUTS["single"], grad=False)
    q = problem.pop("q")

    class Layer(torch.nn.Module):
        def forward(self, q):
            return loss(solve_qp(q=q, **problem, settings=TIGHT)).square()

    module = torch.export.export(Layer(), (q,)).module()
    expected = torch.func.hessian(Layer())(q)
    torch.testing.assert_close(torch.autograd.functional.hessian(module, q), expected)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(module(forward_ad.make_dual(q, q))).tangent
    torch.testing.assert_close(found, torch.func.jvp(Layer(), (q,), (q,))[1])

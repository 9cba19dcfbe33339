"""Code written for qpth runs with the import changed."""

import numpy as np
import pytest
from problems import Form, known
from tensors import TIGHT, tensors, torch

from benchmarks.paper.sudoku.puzzles import generate
from qpcore import ProblemError, SolveError
from torch_bridge import solve_qp
from torch_bridge.qpth import SETTINGS, QPFunction, QPSolvers

FORM = Form(5, 8, 2)

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch")


def in_order(data, dtype=torch.float64):
    """A problem's tensors as qpth takes them: Q, p, G, h, A, b, empty ones for absent blocks."""
    e = torch.Tensor()
    problem = {name: t.detach().to(dtype) for name, t in tensors(data).items()}
    return [problem.get(name, e) for name in ("Q", "q", "G", "h", "A", "b")]


class Sudoku(torch.nn.Module):
    """The Sudoku layer as one writes it for qpth: x >= 0 as rows of G, A learned, b = A exp(z).

    Everything but the puzzle is without a batch axis. `function` is `QPFunction`, of whichever
    package.
    """

    def __init__(self, function, cells=64, rules=40):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.function = function
        self.Q = 0.1 * torch.eye(cells, dtype=torch.float64)
        self.G = -torch.eye(cells, dtype=torch.float64)
        self.h = torch.zeros(cells, dtype=torch.float64)
        self.A = torch.nn.Parameter(torch.rand(rules, cells, generator=draw, dtype=torch.float64))
        self.log_z = torch.nn.Parameter(torch.zeros(cells, dtype=torch.float64))

    def forward(self, puzzles):
        p = -puzzles.flatten(1)
        b = self.A @ self.log_z.exp()
        x = self.function(verbose=-1)(self.Q, p, self.G, self.h, self.A, b)
        return x.view_as(puzzles)


@pytest.fixture(scope="module")
def boards():
    """A batch of encoded puzzles, and their solutions."""
    puzzles = generate(24, 0)
    return torch.from_numpy(puzzles.features).double(), torch.from_numpy(puzzles.labels).double()


def test_the_sudoku_layer_trains(boards):
    puzzles, solutions = boards
    layer = Sudoku(QPFunction)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = (layer(puzzles) - solutions).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.peers
def test_the_sudoku_layer_is_qpths_but_for_the_mean(boards):
    theirs = pytest.importorskip("qpth.qp", reason="needs qpth: make bench-env")
    puzzles, solutions = boards
    layers = Sudoku(QPFunction), Sudoku(theirs.QPFunction)
    ours, qpths = (layer(puzzles) for layer in layers)
    torch.testing.assert_close(ours, qpths, rtol=0, atol=5e-6)
    for boards in (ours, qpths):
        (boards - solutions).square().sum().backward()
    # log_z and A reach the QP through b and A, both shared: qpth takes the mean over 24 puzzles.
    for summed, averaged in zip(*(layer.parameters() for layer in layers), strict=True):
        scale = summed.grad.abs().max()
        torch.testing.assert_close(summed.grad, 24 * averaged.grad, rtol=0, atol=1e-3 * scale)


@pytest.mark.peers
@pytest.mark.parametrize("form", [Form(5, 8, 2), Form(6, 9)], ids=str)
@pytest.mark.parametrize("shared", [(), ("Q", "G", "A")], ids=["batched", "shared"])
def test_minimisers_and_gradients_are_those_of_qpth(form, shared):
    theirs = pytest.importorskip("qpth.qp", reason="needs qpth: make bench-env")
    data = known(form, 3, (4,), shared=shared).data
    problems = [[t.requires_grad_() if t.numel() else t for t in in_order(data)] for _ in range(2)]
    functions = QPFunction(verbose=-1), theirs.QPFunction(verbose=-1)
    xs = [function(*problem) for function, problem in zip(functions, problems, strict=True)]
    torch.testing.assert_close(*xs, rtol=0, atol=1e-7)
    for x in xs:
        (x * torch.arange(1.0, form.n + 1)).sum().backward()
    for name, one, other in zip("QpGhAb", *problems, strict=True):
        if one.numel():
            mean = 4 if name in shared else 1
            # qpth's gradients are 1e-5 off here, for it clamps slacks at 1e-8; ours are 1e-8 off.
            torch.testing.assert_close(one.grad, mean * other.grad, rtol=1e-4, atol=1e-4)


EMPTY = {
    "torch.Tensor()": torch.Tensor(),
    "zero rows": torch.zeros(0, 5, dtype=torch.float64),
    "None": None,
}


@pytest.mark.parametrize("empty", EMPTY)
def test_empty_tensors_are_absent_blocks(empty):
    e = EMPTY[empty]
    limits = e if e is None else e.flatten()
    data = {name: t.detach() for name, t in tensors(known(FORM, 1, (3,)).data).items()}
    Q, p, G, h, A, b = (data[name] for name in ("Q", "q", "G", "h", "A", "b"))
    for given, blocks in (
        ((G, h, e, limits), {"G": G, "h": h}),
        ((e, limits, A, b), {"A": A, "b": b}),
        ((e, limits, e, limits), {}),
    ):
        expected = solve_qp(Q, p, **blocks, settings=SETTINGS[torch.float64]).x
        assert torch.equal(QPFunction()(Q, p, *given), expected)


@pytest.mark.parametrize("batched", ["", "Q", "p", "h", "Ab", "QpGhAb"])
def test_any_argument_may_lack_the_batch_axis(batched):
    single = in_order(known(FORM, 1).data)
    problem = [
        t.repeat(3, *(1,) * t.ndim).requires_grad_() if name in batched else t
        for name, t in zip("QpGhAb", single, strict=True)
    ]
    x = QPFunction()(*problem)
    assert x.shape == (3 if batched else 1, 5)
    expected = solve_qp(*single, settings=SETTINGS[torch.float64]).x.expand_as(x)
    torch.testing.assert_close(x, expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_shared_arguments_are_sums():
    problem = in_order(known(FORM, 2, (3,), shared=("Q", "G", "A")).data)
    shared = [problem[i].requires_grad_() for i in (0, 2, 4)]
    copies = [t.detach().repeat(3, 1, 1).requires_grad_() for t in shared]
    QPFunction()(*problem).sum().backward()
    problem[0::2] = copies
    QPFunction()(*problem).sum().backward()
    for one, each in zip(shared, copies, strict=True):
        torch.testing.assert_close(one.grad, each.grad.sum(0), rtol=1e-10, atol=1e-10)


def infeasible():
    """Two problems, of which the second has no feasible point."""
    Q, p = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    G = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    h = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    return Q, p, G, h, torch.Tensor(), torch.Tensor()


@pytest.mark.parametrize("verbose", [0, 1, False])
def test_a_problem_without_an_answer_raises_what_qpth_would_print(verbose, capsys):
    with pytest.raises(RuntimeError, match="1 PRIMAL_INFEASIBLE") as error:
        QPFunction(verbose=verbose)(*infeasible())
    assert isinstance(error.value, SolveError)
    assert capsys.readouterr() == ("", "")


def test_a_silenced_problem_without_an_answer_is_nan_and_the_others_are_not():
    x = QPFunction(verbose=-1)(*infeasible())
    assert x[0].isfinite().all()
    assert x[1].isnan().all()


@pytest.mark.parametrize("solver", QPSolvers)
def test_what_has_no_effect_has_none(solver):
    problem = in_order(known(FORM, 4, (2,)).data)
    plain = QPFunction()(*problem)
    options = {"notImprovedLim": 1, "maxIter": 1, "solver": solver, "check_Q_spd": False}
    assert torch.equal(QPFunction(**options)(*problem), plain)


def test_eps_is_the_tolerance_down_to_the_finest():
    problem = in_order(known(FORM, 5, (2,)).data)
    exact = solve_qp(*problem, settings=TIGHT).x
    errors = [(QPFunction(eps)(*problem) - exact).abs().max() for eps in (1e-1, 1e-10, 1e-14)]
    assert errors[0] > 1e-4 > 1e-8 > errors[1]
    assert errors[1] == errors[2]


def test_single_precision_with_the_default_eps():
    problem = in_order(known(FORM, 6, (2,)).data, torch.float32)
    x = QPFunction()(*problem)
    assert x.dtype == torch.float32
    exact = solve_qp(*(t.double() for t in problem)).x.float()
    torch.testing.assert_close(x, exact, rtol=1e-3, atol=1e-3)


def test_two_batch_axes_are_refused():
    problem = in_order(known(FORM, 7, (2, 3)).data)
    with pytest.raises(ProblemError, match=r"Q has shape .* expected 2 axes, or 3"):
        QPFunction()(*problem)


def test_it_compiles_and_has_second_derivatives():
    problem = in_order(known(FORM, 8, (2,)).data)
    compiled = torch.compile(lambda *p: QPFunction()(*p), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*problem), QPFunction()(*problem))
    value = torch.func.hessian(lambda p: QPFunction()(problem[0], p, *problem[2:]).pow(3).sum())
    assert value(problem[1]).abs().max() > 0

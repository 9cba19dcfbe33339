"""Every cell of the README's table of transforms does what it says."""

import re
from pathlib import Path

import pytest
from problems import known
from tensors import TIGHT, loss, tensors, torch
from test_torch_derivatives import MILD, energy
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp
from torch.utils.checkpoint import checkpoint

from torch_bridge import QPLayer, solve_qp

# torch itself imports scripted code on the first use of forward mode
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:torch"),
]

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
CELL = r"((?:yes|raises).*?)"
TABLE = {
    row.strip("`"): {"eager": eager, "compiled": compiled}
    for row, eager, compiled in re.findall(rf"^\| (.+?) \| {CELL} \| {CELL} \|$", README, re.M)
}

DATA = tensors(known(MILD, 1, (3,), shared=("Q", "G", "A")).data, grad=False)
Q_LINEAR = DATA["q"]
DIRECTION = torch.linspace(-1, 1, Q_LINEAR.numel(), dtype=torch.float64).view_as(Q_LINEAR)


def value(q):
    """A function of q alone, with second derivatives."""
    return energy(solve_qp(**DATA | {"q": q}, settings=TIGHT))


def answers(q):
    return tuple(solve_qp(**DATA | {"q": q}, settings=TIGHT)[:4])


def gradient():
    """The gradient of `value`, by a plain backward pass: what differences confirm elsewhere."""
    q = Q_LINEAR.clone().requires_grad_()
    return torch.autograd.grad(value(q), q)[0]


def second_derivative():
    """The Hessian of `value`, one plain second backward pass for each row."""
    q = Q_LINEAR.clone().requires_grad_()
    (first,) = torch.autograd.grad(value(q), q, create_graph=True)
    rows = [
        torch.autograd.grad(entry, q, retain_graph=True)[0] for entry in first.flatten().unbind()
    ]
    return torch.stack(rows).view(q.shape + q.shape)


def jacobians():
    """d answers / d q, one plain backward pass for each row."""
    q = Q_LINEAR.clone().requires_grad_()
    parts = []
    for part in answers(q):
        rows = [
            torch.autograd.grad(entry, q, retain_graph=True)[0] for entry in part.flatten().unbind()
        ]
        parts.append(torch.stack(rows).view(part.shape + q.shape))
    return tuple(parts)


def backward(wrap):
    q = Q_LINEAR.clone().requires_grad_()
    wrap(value)(q).backward()
    return q.grad, gradient()


def double_backward(wrap):
    q = Q_LINEAR.clone().requires_grad_()
    (first,) = torch.autograd.grad(wrap(value)(q), q, create_graph=True)
    (found,) = torch.autograd.grad((first * DIRECTION).sum(), q)
    return found, torch.einsum("abcd,cd->ab", second_derivative(), DIRECTION)


def dual_numbers(wrap):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(Q_LINEAR, DIRECTION)
        found = forward_ad.unpack_dual(wrap(value)(dual)).tangent
    return found, (gradient() * DIRECTION).sum()


def inside(transform, expected):
    """The whole transform is what is compiled."""
    return lambda wrap: (wrap(transform)(Q_LINEAR), expected())


def around(wrap):
    return grad(wrap(value))(Q_LINEAR), gradient()


def mapped(over):
    """Map solve_qp over part of its arguments, on other axes than the first, then over the rest."""
    spread = {name: DATA[name] + 1e-6 * torch.randn(2, *DATA[name].shape).double() for name in over}
    expected = answers_of(
        DATA
        | {name: t[:, None] if t.ndim == 3 and name in "QGA" else t for name, t in spread.items()}
    )
    dims = {name: 1 if name in over else None for name in DATA}
    moved = DATA | {name: t.movedim(0, 1) for name, t in spread.items()}

    def run(wrap):
        function = wrap(torch.vmap(lambda data: answers_of(data), in_dims=(dims,)))
        return function(moved), expected

    return run


def answers_of(data):
    return tuple(solve_qp(**data, settings=TIGHT)[:4])


def per_problem(wrap):
    """The gradient of each problem by itself, by an argument that all share and one of its own."""
    rest = {name: t for name, t in DATA.items() if name not in ("q", "Q")}
    dims = {name: None if name in "GA" else 0 for name in rest}

    def one(Q, q, rest):
        return loss(solve_qp(Q, q, **rest, settings=TIGHT))

    function = torch.vmap(grad(one, (0, 1)), in_dims=(None, 0, dims))
    Q = DATA["Q"].expand(3, -1, -1).clone().requires_grad_()
    q = Q_LINEAR.clone().requires_grad_()
    expected = torch.autograd.grad(loss(solve_qp(Q, q, **rest, settings=TIGHT)), (Q, q))
    return wrap(function)(DATA["Q"], Q_LINEAR, rest), expected


def checkpointed(wrap):
    q = Q_LINEAR.clone().requires_grad_()
    wrap(lambda q: checkpoint(value, q, use_reentrant=False))(q).backward()
    return q.grad, gradient()


def autocast(wrap):
    q = Q_LINEAR.bfloat16().requires_grad_()
    data = {name: t.bfloat16() for name, t in DATA.items()}

    layer = QPLayer()

    def run(q):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return layer(**data | {"q": q})

    x = wrap(run)(q)
    x.sum().backward()
    wide = {name: t.float() for name, t in data.items()}
    exact = wide["q"].requires_grad_()
    solve_qp(**wide).x.sum().backward()
    assert x.dtype == q.grad.dtype == torch.bfloat16
    return q.grad, exact.grad.bfloat16()


def functional(vectorize):
    def run(wrap):
        jacobian = torch.autograd.functional.jacobian(wrap(answers), Q_LINEAR, vectorize=vectorize)
        return jacobian, jacobians()

    return run


class Module(torch.nn.Module):
    def forward(self, q):
        return value(q)


def exported(wrap):
    q = Q_LINEAR.clone().requires_grad_()
    module = torch.export.export(Module(), (Q_LINEAR,)).module()
    (first,) = torch.autograd.grad(wrap(module)(q), q)
    return first, gradient()


def around_exported(wrap):
    module = torch.export.export(Module(), (Q_LINEAR,)).module()
    return grad(wrap(module))(Q_LINEAR), gradient()


ROWS = {
    "forward": lambda wrap: (wrap(answers)(Q_LINEAR), answers(Q_LINEAR)),
    "backward": backward,
    "backward with `create_graph=True`": double_backward,
    "`forward_ad` dual numbers": dual_numbers,
    "`torch.func.grad`, `vjp`, `jacrev`": [
        inside(grad(value), gradient),
        inside(lambda q: vjp(value, q)[1](torch.ones(()).double())[0], gradient),
        inside(jacrev(answers), jacobians),
    ],
    "`torch.func.jvp`, `jacfwd`": [
        inside(lambda q: jvp(value, (q,), (DIRECTION,))[1], lambda: (gradient() * DIRECTION).sum()),
        inside(jacfwd(answers), jacobians),
    ],
    "`torch.func.hessian`, other nestings": [
        inside(transform(value), second_derivative)
        for transform in (
            hessian,
            lambda f: jacrev(jacrev(f)),
            lambda f: jacrev(jacfwd(f)),
            lambda f: jacfwd(jacfwd(f)),
        )
    ],
    "`torch.vmap`, of some or all arguments": [
        mapped(("q",)),
        mapped(("Q", "h")),
        mapped(tuple(DATA)),
        per_problem,
    ],
    "`torch.func` around a compiled function": around,
    "`torch.autograd.functional`": functional(False),
    "the same with `vectorize=True`": functional(True),
    "`torch.utils.checkpoint`": checkpointed,
    "`torch.autocast`": autocast,
    "`torch.export`, its module's backward": exported,
    "`torch.func` around an exported module": around_exported,
}


def test_the_table_has_these_rows():
    assert list(TABLE) == [row.strip("`") for row in ROWS]


@pytest.mark.parametrize("way", ["eager", "compiled"])
@pytest.mark.parametrize("row", ROWS)
def test_cell(row, way):
    torch._dynamo.reset()
    says = TABLE[row.strip("`")][way]

    def wrap(function):
        if way == "eager":
            return function
        return torch.compile(function, fullgraph=True, backend="aot_eager")

    runs = ROWS[row] if isinstance(ROWS[row], list) else [ROWS[row]]
    for run in runs:
        if says.startswith("raises"):
            with pytest.raises((NotImplementedError, RuntimeError)):
                run(wrap)
        else:
            found, expected = run(wrap)
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)

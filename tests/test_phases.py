"""What a phase of the GPU makes anew is what its callers would have handed over.

The simulator cannot show it: there kernels are plain Python, and phases ordinary functions.
"""

import ast
import inspect
from importlib.util import find_spec
from pathlib import Path

import pytest

import qpcore

if find_spec("numba_cuda") is None:
    pytest.skip("needs numba-cuda: make gpu-env", allow_module_level=True)

from qpcore.kernels.workspace import Work
from qpcore.phases import MADE_ANEW, PHASES

HERE = Path(qpcore.__file__).parent
SOURCES = [*sorted((HERE / "kernels").glob("*.py")), HERE / "blocks.py"]

# Functions of the CPU alone; `company` has those for many lanes.
ON_CPU = {
    "linalg.py",
    "factor.py",
    "relax.py",
    "pack.py",
    "packed.py",
    "transposed.py",
    "neighbours.py",
    "dual.py",
    "search.py",
    "binding.py",
    "bordered.py",
    "quads.py",
    "system.py",
    "known.py",
    "whole.py",
    "counters.py",
    "by_factor.py",
}

# What may stand for a parameter in a call, besides its own name and its place in `work`.
ALSO = {
    "per_s": {"system.per_s"},
    "K": {"qp.K"},
    "diagonal": {"system.diagonal"},
    "Gt": {"qp.Gt"},
    "weight": {"system.weight"},
    "v": {"system.right"},
    "parameters": {"parameters_noted(shared)"},
}


def functions():
    """Every function of the kernels by name, and its file."""
    found = {}
    for path in SOURCES:
        if path.name in ON_CPU:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, []).append(node)
    return found


def calls(node):
    """Names of the functions that one calls, with the texts of the arguments."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            yield call.func.id, [ast.unparse(argument) for argument in call.args]


def names_of(node):
    return [argument.arg for argument in node.args.args]


def reaching(found):
    """Phases, and functions that hand a parameter of such a name on to one of these, and so on."""
    reached = {function.__name__ for function in PHASES}
    while True:
        more = {
            name
            for name, nodes in found.items()
            for node in nodes
            if set(names_of(node)) & set(MADE_ANEW)
            and any(called in reached for called, _ in calls(node))
        }
        if more <= reached:
            return reached
        reached |= more


def is_allowed(parameter, argument):
    return argument in {parameter, f"work.{parameter}"} | ALSO.get(parameter, set())


def broken(found):
    """Calls that hand over something else than the phase makes."""
    for name in reaching(found):
        for parameters in {tuple(names_of(node)) for node in found.get(name, [])}:
            for caller, nodes in found.items():
                for arguments in (a for n in nodes for c, a in calls(n) if c == name):
                    if len(arguments) != len(parameters):
                        continue  # another function of that name: there are two `refine`
                    for parameter, argument in zip(parameters, arguments, strict=True):
                        if parameter in MADE_ANEW and not is_allowed(parameter, argument):
                            yield f"{caller}: {name}(... {parameter}={argument} ...)"


def test_every_call_hands_over_what_the_phase_makes_anew():
    found = functions()
    assert not list(broken(found))
    # The check sees a wrong call where there is one.
    (node,) = found["least_squares"]
    spoilt = ast.unparse(node).replace("weigh(qp, at,", "weigh(qp, best,")
    assert list(broken(found | {"least_squares": [ast.parse(spoilt).body[0]]})) == [
        "least_squares: weigh(... at=best ...)"
    ]


def test_a_phase_makes_anew_what_is_in_the_workspace():
    for name, made in MADE_ANEW.items():
        if name in Work._fields:
            assert made == f"work.{name}"


@pytest.mark.parametrize("function", PHASES, ids=lambda function: function.__name__)
def test_what_a_phase_takes_it_can_find(function):
    names = list(inspect.signature(function.py_func).parameters)
    assert "team" in names  # whose memory it looks into
    assert len(PHASES) == len({phase.__name__ for phase in PHASES})


def test_local_names_of_the_workspace_are_its_parts():
    """Kernels unpack a work in one line, in its order."""
    expected = f"({', '.join(Work._fields)}) = work"
    lines = 0
    for nodes in functions().values():
        for node in (n for function in nodes for n in ast.walk(function)):
            if isinstance(node, ast.Assign) and ast.unparse(node.value) == "work":
                names = [ast.unparse(element) for element in node.targets[0].elts]
                assert [n for n in names if n != "_"] == [
                    f for f, n in zip(Work._fields, names, strict=True) if n != "_"
                ], expected
                lines += 1
    assert lines > 10

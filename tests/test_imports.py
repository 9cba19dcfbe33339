"""Imports run one way: nouns, kernels, drivers, api, torch_bridge. Read off the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for name in ("qpcore", "torch_bridge") for path in (ROOT / name).rglob("*.py"))

LAYERS = {
    "qpcore.status": "status",
    "qpcore.errors": "nouns",
    "qpcore.settings": "nouns",
    "qpcore.arrays": "nouns",
    "qpcore.arguments": "nouns",
    "qpcore.forms": "nouns",
    "qpcore.problem": "nouns",
    "qpcore.solution": "nouns",
    "qpcore.sensitivity": "nouns",
    "qpcore.trace": "nouns",
    "qpcore.summary": "nouns",
    "qpcore.plot": "plots",
    "qpcore.kernels": "kernels",
    "qpcore.compilation": "drivers",
    "qpcore.reuse": "drivers",
    "qpcore.cpu": "drivers",
    "qpcore.cpu_gradients": "drivers",
    "qpcore.loops": "drivers",
    "qpcore.gradient_loops": "drivers",
    "qpcore.rooms": "drivers",
    "qpcore.threads": "drivers",
    "qpcore.crew": "drivers",
    "qpcore.gpu": "drivers",
    "qpcore.blocks": "drivers",
    "qpcore.notes": "drivers",
    "qpcore.counting": "drivers",
    "qpcore.instead": "drivers",
    "qpcore.phases": "drivers",
    "qpcore.ptx": "drivers",
    "qpcore.plans": "drivers",
    "qpcore.devices": "nouns",
    "qpcore.libraries": "nouns",
    "qpcore.problem_there": "nouns",
    "qpcore.there": "api",
    "qpcore.there_gradients": "api",
    "qpcore.api": "api",
    "qpcore.promise": "api",
    "qpcore.stages": "api",
    "qpcore.solving": "api",
    "qpcore.handover": "api",
    "qpcore.answers": "api",
    "qpcore.closest": "api",
    "qpcore.sides": "api",
    "qpcore.closest_gradients": "api",
    "qpcore.gradients": "api",
    "qpcore.derivatives": "api",
    "qpcore.pull": "api",
    "qpcore.linear": "api",
    "qpcore.linearise": "api",
    "qpcore.untrusted": "api",
    "qpcore.verdict": "api",
    "qpcore.stream": "streams",
    "qpcore.__main__": "command",
    "qpcore": "package",
    "torch_bridge": "torch_bridge",
}
"""Layer of a module, or of a package with all that is in it."""

BELOW = {
    "status": set(),
    "nouns": {"status", "nouns", "plots"},
    "plots": {"status", "nouns"},
    "kernels": {"status", "kernels"},
    "drivers": {"status", "kernels", "drivers"},
    "api": {"status", "nouns", "kernels", "drivers", "api"},
    "streams": {"nouns", "kernels", "api"},
    "package": {"status", "nouns", "api", "streams"},
    "command": {"nouns", "kernels", "drivers", "package"},
    "torch_bridge": {"status", "nouns", "package", "torch_bridge"},
}
"""What of ours a layer may import. Statuses are numbers, so every layer may know them."""

COMPILED = {"numpy", "scipy", "numba", "llvmlite"}
OTHERS = {
    "status": {"numpy"},
    "nouns": {"numpy"},
    "plots": {"numpy", "matplotlib"},
    "kernels": COMPILED,
    "drivers": COMPILED | {"cuda"},
    "api": {"numpy"},
    "streams": {"numpy", "tqdm"},
    "package": set(),
    "command": COMPILED,
    "torch_bridge": {"numpy", "torch"},
}
"""What of others' a layer may import, besides the standard library."""


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module):
    """Layer by the longest listed name; only packages speak for what is in them."""
    for name in (module, module.rpartition(".")[0]):
        if name in LAYERS and (name == module or (ROOT / name.replace(".", "/")).is_dir()):
            return LAYERS[name] if name != "qpcore" or module == "qpcore" else None
    return None


def imported(source):
    """Absolute names of the modules that a source file imports, at whatever depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            whole = (ROOT / (node.module or "").replace(".", "/")).is_dir()
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if whole and layer_of(name) else node.module for name in names)


def broken_rules(module, source):
    layer = layer_of(module)
    for name in imported(source):
        top = name.partition(".")[0]
        if top in ("qpcore", "torch_bridge"):
            if layer_of(name) not in BELOW[layer]:
                yield f"{module} ({layer}) imports {name} ({layer_of(name)})"
        elif top not in sys.stdlib_module_names and top not in OTHERS[layer]:
            yield f"{module} ({layer}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_one_way(path):
    module = module_of(path)
    assert layer_of(module), f"{module} is in no layer: add it to LAYERS"
    assert not list(broken_rules(module, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("qpcore.problem", "import scipy"),
        ("qpcore.problem", "from qpcore import kernels"),
        ("qpcore.problem", "def f():\n    from qpcore.api import solve"),
        ("qpcore.kernels.ipm", "from qpcore.settings import Settings"),
        ("qpcore.kernels.ipm", "from qpcore import problem"),
        ("qpcore.kernels.ipm", "import qpcore.cpu"),
        ("qpcore.kernels.ipm", "import qpcore"),
        ("qpcore.cpu", "from qpcore.problem import Problem"),
        ("qpcore.api", "import torch"),
        ("qpcore.api", "import torch_bridge.layer"),
        ("torch_bridge.layer", "from qpcore.kernels import ipm"),
    ],
)
def test_the_rules_can_be_broken(module, source):
    assert list(broken_rules(module, source))


def test_qpcore_runs_without_torch():
    program = "import sys; sys.modules['torch'] = None; import qpcore"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)

"""The plot of a trace: what is drawn is what was recorded; what cannot be drawn is said."""

import subprocess
import sys

import numpy as np
import pytest
from cases import FAILURES, OPEN, beside, failing
from problems import known

from qpcore import ProblemError, Settings, SettingsError, solve

TRACED = Settings(trace=True)
RESIDUALS = {
    "primal residual": ("primal_residual", "primal_scale"),
    "dual residual": ("dual_residual", "dual_scale"),
    "duality gap": ("duality_gap", "gap_scale"),
}


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib: qpcore[plot]")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def solution():
    """A (13,) batch in which problems 0, 2, 5 and 9 fail."""
    data, _ = beside(
        known(OPEN, 140, (9,)).data, [failing(s, OPEN, 141) for s in FAILURES], [0, 1, 3, 6]
    )
    return solve(**data, settings=TRACED, throw=False)


def curves(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_curves_are_the_trace(pyplot, solution):
    upper, lower = solution.plot_trace(1)
    end = solution.iterations[1]
    expected = {label: getattr(solution.trace, name) for label, (name, _) in RESIDUALS.items()}
    for label, values in (expected | {"μ": solution.trace.mu}).items():
        np.testing.assert_array_equal(curves(upper)[label].get_ydata(), values[1, : end + 1])
        np.testing.assert_array_equal(curves(upper)[label].get_xdata(), np.arange(end + 1))
    for label, name in {"σ, centring": "sigma", "α, step length": "alpha"}.items():
        steps = curves(lower)[label]
        np.testing.assert_array_equal(steps.get_ydata(), getattr(solution.trace, name)[1, :end])
        np.testing.assert_array_equal(steps.get_xdata(), np.arange(end) + 0.5)


def test_dashed_lines_are_the_tolerances(pyplot, solution):
    upper, _ = solution.plot_trace(1)
    dashed = [line for line in upper.get_lines() if line.get_linestyle() == "--"]
    drawn = {line.get_color(): line.get_ydata() for line in dashed}
    for label, (_, scale) in RESIDUALS.items():
        allowed = 1e-8 * (1 + getattr(solution, scale)()[1])
        assert (drawn[curves(upper)[label].get_color()] == allowed).all()


def test_axes_are_labelled(pyplot, solution):
    upper, lower = solution.plot_trace(1)
    assert upper.get_title() == f"problem 1: SOLVED after {solution.iterations[1]} iterations"
    assert (upper.get_yscale(), upper.get_ylabel()) == ("log", "units of the data")
    assert lower.get_xlabel() == "iteration"
    texts = [text.get_text() for text in upper.get_legend().get_texts()]
    assert texts == [*RESIDUALS, "μ", "tolerance"]


@pytest.mark.parametrize("index", range(13))
def test_every_outcome_can_be_drawn(pyplot, solution, index, tmp_path):
    upper, _ = solution.plot_trace(index)
    upper.figure.savefig(tmp_path / "trace.png")
    assert (tmp_path / "trace.png").stat().st_size > 5000


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("limits", [{}, {"lb": 0.0}, {"lb": 1.0, "ub": 0.0}])
def test_a_single_problem_needs_no_index(pyplot, limits, dtype):
    data = {"Q": np.eye(2), "q": [1.0, 1.0]} | limits
    data = {name: np.asarray(value, dtype) for name, value in data.items()}
    solution = solve(**data, settings=TRACED, throw=False)
    upper, _ = solution.plot_trace()
    upper.figure.canvas.draw()
    assert not upper.get_title().startswith("problem")


def test_given_axes_are_drawn_on(pyplot, solution):
    figure, axes = pyplot.subplots(2, 2)
    assert solution.plot_trace(1, axes=axes[:, 0]) == tuple(axes[:, 0])
    assert solution.plot_trace(2, axes=list(axes[:, 1])) == tuple(axes[:, 1])
    assert pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize("count", [1, 3])
def test_axes_are_two(pyplot, solution, count):
    _, axes = pyplot.subplots(count)
    with pytest.raises(ProblemError, match=f"axes holds {count} Axes; expected two"):
        solution.plot_trace(1, axes=axes)


@pytest.mark.parametrize("index", [(1, 2), (-1, -1), (np.int32(1), 2)])
def test_index_of_two_axes(pyplot, index):
    solution = solve(np.eye(2), np.ones((2, 3, 2)), lb=0.0, settings=TRACED)
    upper, _ = solution.plot_trace(index)
    assert upper.get_title().startswith("problem 1, 2: SOLVED")


@pytest.mark.parametrize("index", [None, 13, -14, (1, 1), (), 1.0, "1", slice(1, 2), [1]])
def test_index_outside_the_batch(solution, index):
    with pytest.raises(ProblemError) as caught:
        solution.plot_trace(index)
    assert str(caught.value).startswith(f"index is {index!r}; expected a place in the batch shape")


def test_index_of_a_single_problem():
    solution = solve(np.eye(2), np.ones(2), settings=TRACED)
    with pytest.raises(ProblemError, match="index is 0; expected None for a single problem"):
        solution.plot_trace(0)


def test_without_a_trace_the_error_names_the_setting():
    with pytest.raises(SettingsError, match=r"settings=Settings\(trace=True\)"):
        solve(np.eye(2), np.ones(2)).plot_trace()


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, solution):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install qpcore\[plot\]"):
        solution.plot_trace(1)


def test_qpcore_does_not_import_matplotlib():
    program = "import sys, qpcore; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

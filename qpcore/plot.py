"""A picture of one problem's way to its answer. It needs matplotlib, which qpcore does without."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qpcore.errors import ProblemError, SettingsError
from qpcore.status import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from qpcore.solution import Solution
    from qpcore.trace import Trace

# Field of the trace: its label, its colour, the scale its tolerance goes by.
CURVES = {
    "primal_residual": ("primal residual", "tab:blue", "primal_scale"),
    "dual_residual": ("dual residual", "tab:orange", "dual_scale"),
    "duality_gap": ("duality gap", "tab:green", "gap_scale"),
    "mu": ("μ", "tab:gray", None),
}
STEPS = {"sigma": ("σ, centring", "tab:purple"), "alpha": ("α, step length", "tab:red")}


def plot_trace(solution: Solution, index: Any, axes: Any) -> tuple[Axes, Axes]:
    """Draw what `Solution.plot_trace` says."""
    if solution.trace is None:
        raise SettingsError(
            "This solution has no trace; expected one recorded while solving. Solve again with "
            "settings=Settings(trace=True)."
        )
    at = _position(index, solution.problem.batch_shape)
    upper, lower = _new_axes() if axes is None else _two(axes)
    status, last = Status(int(solution.status[at])), int(solution.iterations[at])
    _draw_residuals(upper, solution, solution.trace, at, last)
    _draw_steps(lower, solution.trace, at, last)
    name = f"problem {', '.join(map(str, at))}: " if at else ""
    upper.set_title(f"{name}{status.name} after {last} iteration{'s' * (last != 1)}")
    return upper, lower


def _draw_residuals(upper: Axes, solution: Solution, trace: Trace, at: tuple, last: int) -> None:
    """Curves of the residuals and of mu; a dashed line in its colour where a residual may end."""
    tol = solution.settings.tolerance(solution.problem.dtype)
    upper.set_yscale("log")
    for field, (label, colour, scale) in CURVES.items():
        upper.plot(getattr(trace, field)[at][: last + 1], "o-", color=colour, ms=3, label=label)
        if scale is not None:
            size = np.nan_to_num(getattr(solution, scale)()[at])  # NaN beside a certificate
            upper.plot(_span(last), 2 * [tol * (1 + size)], "--", color=colour, lw=1)
    upper.plot([], [], color="black", ls="--", lw=1, label="tolerance")
    upper.set(ylabel="units of the data", xlim=_span(last))
    upper.grid(alpha=0.3)
    upper.legend(framealpha=0.5)


def _draw_steps(lower: Axes, trace: Trace, at: tuple, last: int) -> None:
    """How each step was chosen, between the iterates that it connects."""
    steps = np.arange(last) + 0.5
    for field, (label, colour) in STEPS.items():
        lower.plot(steps, getattr(trace, field)[at][:last], "o-", color=colour, ms=3, label=label)
    lower.set(xlabel="iteration", ylim=(-0.1, 1.2), xlim=_span(last))
    lower.locator_params(axis="x", integer=True)
    lower.grid(alpha=0.3)
    lower.legend(framealpha=0.5, ncols=2)


def _span(last: int) -> tuple[float, float]:
    """Iterations 0 to the last one, with room beside them."""
    return -0.5, max(last, 1) + 0.5


def _new_axes() -> tuple[Axes, Axes]:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "plot_trace draws with matplotlib, which is not installed: pip install qpcore[plot]"
        ) from error
    _, (upper, lower) = pyplot.subplots(
        2, sharex=True, height_ratios=(3, 1), figsize=(7, 5), layout="constrained"
    )
    return upper, lower


def _two(axes: Sequence[Axes]) -> tuple[Axes, Axes]:
    pair = np.ravel(np.asarray(axes, object))
    if len(pair) != 2:
        raise ProblemError(
            f"axes holds {len(pair)} Axes; expected two, for residuals and for steps, as "
            "plt.subplots(2, sharex=True) makes them."
        )
    return pair[0], pair[1]


def _position(index: Any, batch: tuple[int, ...]) -> tuple[int, ...]:
    """The place of one problem in the batch; the only one needs no index."""
    if index is None and all(size == 1 for size in batch):
        index = (0,) * len(batch)
    given: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
    try:
        return tuple(range(k)[operator.index(i)] for i, k in zip(given, batch, strict=True))
    except (IndexError, TypeError, ValueError):
        expected = f"a place in the batch shape {batch}" if batch else "None for a single problem"
        raise ProblemError(
            f"index is {index!r}; expected {expected}, because a plot shows one problem."
        ) from None

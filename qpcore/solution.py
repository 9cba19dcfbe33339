"""The answer, and how far it is from optimal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import reduce, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qpcore.arguments import DROPPED, NO_LIMIT
from qpcore.errors import SolveError
from qpcore.libraries import library_of
from qpcore.plot import plot_trace
from qpcore.problem import Problem
from qpcore.settings import Settings
from qpcore.status import Status, all_solved
from qpcore.summary import summarise
from qpcore.trace import Trace

if TYPE_CHECKING:
    from qpcore.plot import Axes

_CERTIFICATES = (Status.PRIMAL_INFEASIBLE, Status.DUAL_INFEASIBLE)


def _measure(formula: Callable[[Solution], np.ndarray]) -> Callable[[Solution], np.ndarray]:
    """Let NaN and inf in the data pass; answer NaN where a certificate stands for the variables."""

    @wraps(formula)
    def measure(self: Solution) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            value = formula(self)
        return np.where(np.isin(self.status, _CERTIFICATES) & ~self.closest, np.nan, value)

    return measure


@dataclass(frozen=True, eq=False)
class Solution:
    """Minimisers, multipliers and outcome of every problem; * is the batch shape of the problem.

    The multipliers satisfy ``Qx + q + G'z + A'y + z_box = 0``. What has no meaning is NaN; a
    certificate of infeasibility takes the place of the variables it lives in, see `Status`. With
    ``Settings(infeasible="closest")`` infeasible problems hold the answer of the closest feasible
    one instead, see `closest`.

    The measures are computed in float64 on the original data, with Q's symmetric part for Q, and
    are NaN where x or the multipliers hold a certificate. SOLVED means that ``primal_residual() <=
    tol * (1 + primal_scale())``, and likewise for dual_residual and duality_gap, and that
    ``duality_gap() <= 100 * tol * (1 + abs(objective()))``. MAX_ITERATIONS and NUMERICAL_ERROR
    leave the best iterate, whose measures say how far it came. In the formulas v+ is max(v, 0), and
    a limit of magnitude 1e20 or more, or an absent one, is left out.
    """

    x: np.ndarray
    """(*, n) minimisers."""
    z: np.ndarray
    """(*, m) multipliers of the rows of G: >= 0 where h is active, <= 0 where h_lower is."""
    y: np.ndarray
    """(*, p) multipliers of Ax = b."""
    z_box: np.ndarray
    """(*, n) multipliers of the bounds: >= 0 where ub is active, <= 0 where lb is."""
    status: np.ndarray
    """(*) int8, values of `Status`."""
    iterations: np.ndarray
    """(*) int32, iterations of all stages of the solve: steps of the interior-point method, and of
    the active set methods that may come before it."""
    problem: Problem
    """What was solved."""
    settings: Settings
    """How it was solved."""
    trace: Trace | None = None
    """What the solver saw at every iterate, with ``Settings(trace=True)``; else None."""
    device: str = "cpu"
    """Where it was solved, "cpu" or "cuda", and where its derivatives are computed."""
    saved: Any = field(default=None, repr=False)
    """Factors that the solve leaves to derivatives, if any: of large or single problems always, of
    others with ``keep_factors=True``; the oldest are given up when there are many."""

    def __getstate__(self) -> dict[str, Any]:
        """All but what is saved, which copies and other processes do without."""
        return self.__dict__ | {"saved": None}

    @property
    def solved(self) -> np.ndarray:
        """(*) bool, True where the status is SOLVED."""
        return np.asarray(self.status == Status.SOLVED)

    def on_host(self) -> Solution:
        """The same with NumPy arrays, copied from the GPU they lie on, as the measures need it."""
        if isinstance(self.x, np.ndarray):
            return self
        library, arrays = library_of(self.x), {}
        for name in ("x", "z", "y", "z_box", "status", "iterations"):
            arrays[name] = library.to_host(getattr(self, name))
        return replace(self, problem=self.problem.on_host(), **arrays)

    @property
    def closest(self) -> np.ndarray:
        """(*) bool, True where the answer is that of the closest feasible problem.

        Only with ``Settings(infeasible="closest")``. `primal_residual` is then the largest entry of
        the shift.
        """
        if self.settings.infeasible != "closest":
            return np.zeros(self.status.shape, bool)
        infeasible = np.asarray(self.status == Status.PRIMAL_INFEASIBLE)
        if not infeasible.any():
            return infeasible
        return infeasible & ~np.isnan(self.x).any(axis=-1)

    @_measure
    def objective(self) -> np.ndarray:
        """(*) values of 0.5 x'Qx + q'x."""
        xQx, qx = self._gap_terms()[:2]
        return 0.5 * xQx + qx

    @_measure
    def primal_residual(self) -> np.ndarray:
        """(*) largest entry of (Gx - h)+, (h_lower - Gx)+, |Ax - b|, (lb - x)+ and (x - ub)+."""
        outside = [np.where(s.kept, s.sign * (s.value - s.limit), 0.0) for s in self._sides()]
        excess = [np.maximum(v, 0.0) for v in outside]
        return _max_norm([*excess, self._times("A", self.x) - self._vector("b")])

    @_measure
    def primal_scale(self) -> np.ndarray:
        """(*) largest magnitude in Gx, Ax, b, the limits, and x where it has a bound."""
        x_and_limits = [np.where(s.kept, v, 0.0) for s in self._sides() for v in (s.value, s.limit)]
        Gx, Ax = self._times("G", self.x), self._times("A", self.x)
        return _max_norm([*x_and_limits, Gx, Ax, self._vector("b")])

    @_measure
    def dual_residual(self) -> np.ndarray:
        """(*) largest entry of |Qx + q + G'z + A'y + z_box|, and of multipliers of absent limits.

        The latter, such as (-z)+ for a row without h_lower, are zero in every answer of `solve`.
        Without them a multiplier of the wrong sign could pass for optimal. In `closest` problems,
        whose shifted rows are equations, they are left out.
        """
        free = self.closest[..., None]
        unowned = [np.where(s.kept | free, 0.0, s.force) for s in self._sides()]
        return _max_norm([reduce(np.add, self._dual_terms()), *unowned])

    @_measure
    def dual_scale(self) -> np.ndarray:
        """(*) largest magnitude in Qx, q, G'z, A'y and z_box."""
        return _max_norm(self._dual_terms())

    @_measure
    def duality_gap(self) -> np.ndarray:
        """(*) magnitude of x'Qx + q'x + b'y + h'z+ - h_lower'(-z)+ + ub'z_box+ - lb'(-z_box)+."""
        return np.abs(reduce(np.add, self._gap_terms()))

    @_measure
    def gap_scale(self) -> np.ndarray:
        """(*) largest magnitude among x'Qx, q'x, b'y, the z terms and the z_box terms."""
        return _max_norm(term[..., None] for term in self._gap_terms())

    def raise_for_status(self) -> None:
        """Do nothing if every problem is SOLVED, or answered by the `closest` feasible one.

        Raises
        ------
        SolveError
            Some are not. The message counts them and says what to try for the first one.
        """
        if all_solved(self.status):
            return
        unsolved = ~(self.solved | self.closest)
        if not unsolved.any():
            return
        failed = np.argwhere(unsolved)
        first = tuple(int(i) for i in failed[0])
        status = Status(self.status[first])
        counts = Counter(Status(value).name for value in self.status[unsolved].tolist())
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise SolveError(
            f"{len(failed)} of {self.status.size} problems not solved ({listed}). The first is "
            f"index {first}: {status.name}. {status.remedy} The attribute .solution of this error "
            "holds all results; throw=False returns them instead.",
            self,
        )

    def summary(self) -> str:
        """Text for people: how it went, how well, and what to try next.

        For a single problem status, iterations, objective, and each residual beside what the
        tolerance allows it. For a batch the number of problems of each status, their iterations,
        the largest residuals relative to 1 + scale among the SOLVED, and the first failure.
        """
        return summarise(self)

    def plot_trace(
        self, index: int | tuple[int, ...] | None = None, axes: Any = None
    ) -> tuple[Axes, Axes]:
        """Plot the way of one problem: residuals, gap and mu above, sigma and alpha below.

        A residual is done at its dashed line, tol * (1 + scale) of the answer, or tol itself where
        there is no answer. The upper axis is logarithmic: a residual that is zero leaves it.

        Parameters
        ----------
        index : int or tuple of int, optional
            Which problem of the batch; of a single problem None.
        axes : sequence of two matplotlib Axes, optional
            Where to draw. None makes a new figure with pyplot.

        Returns
        -------
        tuple of two matplotlib Axes
            Upper and lower; ``upper.figure.savefig("trace.png")`` keeps the picture.

        Raises
        ------
        SettingsError
            No trace was recorded: solve with ``Settings(trace=True)``.
        ProblemError
            The index is no place in the batch, or axes are not two.
        ImportError
            Matplotlib is missing: ``pip install qpcore[plot]``.
        """
        return plot_trace(self, index, axes)

    def _vector(self, name: str) -> np.ndarray:
        array = getattr(self.problem, name)
        return np.zeros(0) if array is None else _wide(array)

    def _times(self, name: str, v: np.ndarray, transposed: bool = False) -> np.ndarray:
        """Matrix times vector per problem; a shared matrix is not repeated."""
        array = getattr(self.problem, name)
        M = np.zeros((0, self.problem.n)) if array is None else _wide(array)
        M = M.swapaxes(-1, -2) if transposed else M
        return _wide(v) @ M.T if M.ndim == 2 else (M @ _wide(v)[..., None])[..., 0]

    def _sides(self) -> Iterator[_Side]:
        """Yield the four lists of limits, absent ones as infinite."""
        Gx, x, z, z_box = self._times("G", self.x), _wide(self.x), _wide(self.z), _wide(self.z_box)
        rows = [("h", Gx, z, 1), ("h_lower", Gx, z, -1)]
        box = [("ub", x, z_box, 1), ("lb", x, z_box, -1)]
        for name, value, multiplier, sign in rows + box:
            array = getattr(self.problem, name)
            limit = np.full(value.shape[-1], NO_LIMIT[name]) if array is None else _wide(array)
            force = np.maximum(sign * multiplier, 0.0)
            yield _Side(value, limit, ~(np.abs(limit) >= DROPPED), force, sign)

    def _dual_terms(self) -> list[np.ndarray]:
        Qx = 0.5 * (self._times("Q", self.x) + self._times("Q", self.x, transposed=True))
        Gz = self._times("G", self.z, transposed=True)
        Ay = self._times("A", self.y, transposed=True)
        return [Qx, self._vector("q"), Gz, Ay, _wide(self.z_box)]

    def _gap_terms(self) -> list[np.ndarray]:
        x = _wide(self.x)
        pull = [_dot(np.where(s.kept, s.limit, 0.0), s.sign * s.force) for s in self._sides()]
        return [
            _dot(x, self._times("Q", self.x)),
            _dot(self._vector("q"), x),
            _dot(self._vector("b"), _wide(self.y)),
            pull[0] + pull[1],
            pull[2] + pull[3],
        ]


class _Side(NamedTuple):
    """One list of limits: sign * (value - limit) <= 0 with a force >= 0, where it is kept."""

    value: np.ndarray
    limit: np.ndarray
    kept: np.ndarray
    force: np.ndarray
    sign: int


def _wide(array: np.ndarray | float) -> np.ndarray:
    return np.asarray(array, np.float64)


def _dot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.einsum("...i,...i->...", u, v)


def _max_norm(terms: Iterable[np.ndarray]) -> np.ndarray:
    """Largest magnitude per problem over all terms; 0 for no entries, NaN if there is one."""
    return reduce(np.maximum, (np.abs(term).max(axis=-1, initial=0.0) for term in terms))

"""Batches of whatever users may pass, with what is known about each problem.

A batch is drawn with numbers near one, in *plain* units. Then it gets units from 1e-12 to 1e12,
some of its problems are spoiled, and its arrays laid out in memory in an odd way.

What is known of a problem, that it is feasible, bounded or convex, holds in every unit. A solver
sees it in every unit if it compares what a ray leaves over with the terms that make it up.
Nothing is claimed where float32 loses a number or a unit drops a limit. Nor must an infeasible
problem not be SOLVED: with small numbers it is, by the contract's residuals. Certificates can be
verified in the units of the data only where these are ``mild``.
"""

from dataclasses import dataclass, field

import numpy as np
import rays
from checks import DUAL_INFEASIBLE, NONFINITE_INPUT, NOT_CONVEX, PRIMAL_INFEASIBLE
from oracle import LARGE
from problems import Form

LIMITS = ("h", "h_lower", "lb", "ub")
UNKNOWN = -1
MILD = 3  # exponent of ten up to which units leave the numbers comparable
FEASIBLE = ("solvable", "unbounded", "nearly_infeasible", "nearly_unbounded")
BOUNDED = ("solvable", "nearly_infeasible", "nearly_unbounded")


@dataclass(frozen=True)
class Recipe:
    """What a batch is made of; the seed decides the rest."""

    form: Form
    kind: str = "solvable"  # of KINDS
    seed: int = 0
    count: int = 20
    dtype: type = np.float64
    traits: tuple = ()  # of TRAITS
    spoils: tuple = ()  # of SPOILS
    units: dict = field(default_factory=dict)
    """Of "columns", "rows", "equalities" and "cost": a common exponent of ten, and how far each
    variable, row or problem may be away from it."""
    slope: int = 0  # exponent by which q alone is larger
    reach: int = 0  # exponent by which all limits, and the feasible points, are larger
    layout: str = "contiguous"  # of LAYOUTS
    shared: bool = False  # Q, G and A given once; then no spoils
    axes: bool = False  # a second batch axis

    @property
    def mild(self):
        """Whether certificates can be verified in the units of the data."""
        farthest = max((abs(common) + spread for common, spread in self.units.values()), default=0)
        wild = {"extreme", "wild_limit"} & set(self.spoils)
        return max(farthest, abs(self.slope), abs(self.reach)) <= MILD and not wild


@dataclass(frozen=True)
class Hostile:
    """Arguments of ``solve`` for a batch, and what is known about each problem."""

    data: dict
    must: list
    """The status that the problem has to get, else UNKNOWN."""
    must_not: list
    """Statuses that would be wrong."""


def hostile(recipe):
    """Make the batch."""
    exact = in_units(KINDS[recipe.kind](recipe), recipe)
    with np.errstate(over="ignore"):
        data = {name: value.astype(recipe.dtype) for name, value in exact.items()}
    same = [_is_same(one(exact, i), one(data, i)) for i in range(recipe.count)]
    must, must_not = [UNKNOWN] * recipe.count, [known(recipe) if s else set() for s in same]
    rng = np.random.default_rng(recipe.seed)
    for i in range(recipe.count):
        if recipe.spoils and rng.random() < 0.3:
            spoil = rng.choice(recipe.spoils)
            SPOILS[spoil](one(data, i), rng)
            must_not[i] = set()
            must[i] = NOT_CONVEX if spoil == "indefinite" else UNKNOWN
        must[i] = demanded(one(data, i), must[i])
    if recipe.shared:
        data |= {name: data[name][0] for name in {"Q", "G", "A"} & data.keys()}
    elif recipe.axes:
        data = {name: value[:, None] for name, value in data.items()}
    return Hostile({name: LAYOUTS[recipe.layout](v) for name, v in data.items()}, must, must_not)


def one(data, i):
    """Views of the arguments of problem i."""
    return {name: value[i] for name, value in data.items()}


def known(recipe):
    """Statuses that are wrong for problems of a recipe, unless they are spoiled."""
    wrong = {PRIMAL_INFEASIBLE: recipe.kind in FEASIBLE, DUAL_INFEASIBLE: recipe.kind in BOUNDED}
    return {NOT_CONVEX} | {status for status, claimed in wrong.items() if claimed}


def demanded(data, otherwise=UNKNOWN):
    """The status that the numbers of one problem demand."""
    limits = [data[name] for name in LIMITS if name in data]
    others = [value for name, value in data.items() if name not in LIMITS]
    if any(np.isnan(v).any() for v in limits) or not all(np.isfinite(v).all() for v in others):
        return NONFINITE_INPUT
    for lower, upper in (("h_lower", "h"), ("lb", "ub")):
        if upper in data and lower in data:
            low, up = data[lower], data[upper]
            if (is_limit(low) & is_limit(up) & (low > up)).any():
                return PRIMAL_INFEASIBLE
    return otherwise


def is_limit(value):
    """Where a limit is one and not dropped."""
    return np.abs(value) < LARGE


def _is_same(plain, data):
    """Whether every number of a problem is still one, and every limit a limit, after rounding."""
    for name, before in plain.items():
        after = np.asarray(data[name], np.float64)
        dropped = np.isfinite(before) & ~is_limit(after) if name in LIMITS else ~np.isfinite(after)
        if dropped.any() or ((before != 0) & (after == 0)).any():
            return False
    return True


# ---- kinds and traits ----------------------------------------------------------------------------


def solvable(recipe):
    """Batch around a feasible point and multipliers."""
    draft = rays.Draft(recipe.form, recipe.seed, recipe.count)
    if recipe.shared:
        for matrix in (draft.L, draft.G, draft.A):
            matrix[:] = matrix[:1]
    for trait in recipe.traits:
        TRAITS[trait](draft)
    q, *_ = draft.bounded_cost()
    data = draft.data(q, draft.limits(), (draft.A @ draft.x[..., None])[..., 0])
    if "fixed" in recipe.traits and "ub" in data:
        data["ub"][:, ::3] = data["lb"][:, ::3] = draft.x[:, ::3]
    if "huge_limits" in recipe.traits:
        for name, absent in zip(LIMITS, (1e20, -1e30, 1e25, -1e20), strict=True):
            if name in data:
                data[name] = np.where(np.isinf(data[name]), absent, data[name])
    return data


def around_rays(build):
    """Batches of ``rays``, with margins that the dtype can tell from rounding."""

    def make(recipe):
        rng = np.random.default_rng(recipe.seed)
        smallest = -3 if recipe.dtype is np.float64 else -1
        margin = 10 ** rng.uniform(smallest, 0, recipe.count)
        return build(recipe.form, recipe.seed, recipe.count, margin).data

    return make


KINDS = {"solvable": solvable} | {
    build.__name__: around_rays(build)
    for build in (rays.infeasible, rays.unbounded, rays.nearly_infeasible, rays.nearly_unbounded)
}


def zero_rows(draft):
    """Every other row of G, and the last of A, has no entries."""
    draft.G[:, ::2] = 0
    draft.A[:, -1:] = 0


def duplicate_rows(draft):
    """The second half of the rows of G and A repeats the first."""
    for rows in (draft.G, draft.A):
        half = rows.shape[1] // 2
        rows[:, half : 2 * half] = rows[:, :half]


def dependent_rows(draft):
    """Every row is a combination of two."""
    for rows in (draft.G, draft.A):
        weights = draft.rng.standard_normal((1, rows.shape[1], 2))
        rows[:] = weights[..., : rows[:, :2].shape[1]] @ rows[:, :2]


def sparse(draft):
    """Three of four entries are zero, whole rows and columns among them."""
    for rows in (draft.L, draft.G, draft.A):
        rows *= draft.rng.random(rows.shape[1:]) < 0.25


def nothing(draft):
    """Q = 0 and no slope: only feasibility."""
    draft.L[:] = 0


TRAITS = {f.__name__: f for f in (zero_rows, duplicate_rows, dependent_rows, sparse, nothing)}
TRAITS |= {"fixed": lambda draft: None, "huge_limits": lambda draft: None}  # see `solvable`


# ---- units ---------------------------------------------------------------------------------------


def in_units(data, recipe):
    """Data in other units of variables, rows and cost, the letters those of (15)."""
    rng, form, count = np.random.default_rng(recipe.seed), recipe.form, recipe.count
    sizes = {"columns": form.n, "rows": form.m, "equalities": form.p, "cost": 1}
    D, E, F, c = (
        10.0 ** units(*recipe.units.get(name, (0, 0)), (1 if recipe.shared else count, size), rng)
        for name, size in sizes.items()
    )
    steep, away = 10.0 ** np.array([recipe.slope, recipe.reach])
    scaled = {"Q": c[..., None] * D[:, :, None] * data["Q"] * D[:, None, :]}
    scaled["q"] = c * D * data["q"] * steep
    for name, factor in (("h", E), ("h_lower", E), ("b", F), ("ub", 1 / D), ("lb", 1 / D)):
        if name in data:
            scaled[name] = np.where(is_limit(data[name]), factor * away, 1) * data[name]
    for name, factor in (("G", E), ("A", F)):
        if name in data:
            scaled[name] = factor[:, :, None] * data[name] * D[:, None, :]
    return scaled


def units(common, spread, shape, rng):
    """Exponents from -12 to 12."""
    return np.clip(common + rng.uniform(-spread, spread, shape), -12, 12)


# ---- spoils --------------------------------------------------------------------------------------


def _put(data, names, value, rng):
    name = rng.choice([name for name in names if name in data])
    data[name].flat[rng.integers(data[name].size)] = value


def nan(data, rng):
    """NaN anywhere."""
    _put(data, list(data), np.nan, rng)


def infinity(data, rng):
    """Infinite where only limits may be."""
    _put(data, ["Q", "q", "G", "A", "b"], rng.choice([np.inf, -np.inf]), rng)


def wild_limit(data, rng):
    """A limit far out, or infinite on either side."""
    if data.keys() & set(LIMITS):
        _put(data, LIMITS, rng.choice([np.inf, -np.inf, 1e19, -1e19, 1e20, -1e20, 1e30]), rng)


def crossed(data, rng):
    """A lower limit above the upper one."""
    for lower, upper in (("h_lower", "h"), ("lb", "ub")):
        if upper in data:
            low, up = data[lower], data[upper]
            both = np.flatnonzero(is_limit(low) & is_limit(up))
            if len(both):
                i = rng.choice(both)
                low[i], up[i] = up[i], low[i]


def indefinite(data, rng):
    """One variable's curvature is negative, as large as it was."""
    Q = data["Q"]
    i = rng.integers(len(Q))
    Q[i, i] = -Q[i, i] if Q[i, i] else -max(np.diag(Q).max(), 1e-12)


def extreme(data, rng):
    """One number near the end of the range of its dtype."""
    info = np.finfo(data["Q"].dtype)
    _put(
        data, list(data), rng.choice([info.max, -info.max, info.tiny, info.smallest_subnormal]), rng
    )


SPOILS = {f.__name__: f for f in (nan, infinity, wild_limit, crossed, indefinite, extreme)}


# ---- layouts -------------------------------------------------------------------------------------


def every_other(array):
    """View of a larger array, with gaps along the last axis."""
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def backwards(array):
    """View with negative strides."""
    return np.ascontiguousarray(array[::-1, ..., ::-1])[::-1, ..., ::-1]


def read_only(array):
    """Not to be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "every_other": every_other,
    "backwards": backwards,
    "read_only": read_only,
}

"""Problems by seed that know their answer: the answer is chosen first, the data built around it."""

from dataclasses import dataclass, replace

import numpy as np
from oracle import Active, Point, exact_solution, one, sensitivity

MARGIN = 0.1  # active multipliers and inactive slacks are at least this large
SENSITIVITY = 30.0  # times the condition of Q: bound on the inverse of the active KKT matrix


@dataclass(frozen=True)
class Form:
    """What a problem looks like; the seed decides the rest.

    Sides of the rows of G (``rows``) and of the bounds (``box``): "none", "upper", "lower", "both",
    or "mixed", where each row of each problem draws one of these four.
    """

    n: int
    m: int = 0
    p: int = 0
    rows: str = "upper"
    box: str = "none"
    fixed: int = 0  # variables with lb = ub
    rank: int | None = None  # of Q; None: n, positive definite; 0: a linear program
    condition: float = 10.0  # largest over smallest nonzero eigenvalue of Q; the largest is 1

    def __str__(self):
        """Identify the form in a test's name."""
        parts = [f"n{self.n}-m{self.m}-p{self.p}"]
        parts += [f"{self.rows}_rows"] if self.m else []
        parts += [f"{self.box}_box"] if self.box != "none" else []
        parts += [f"fixed{self.fixed}"] if self.fixed else []
        parts += [f"rank{self.rank}"] if self.rank is not None else []
        return "-".join(parts)


@dataclass(frozen=True)
class Known:
    """A batch of problems: ``solve``'s arguments, the unique answer, the sides active at it.

    Strictly complementary by ``MARGIN``, with independent active rows and a Q that is definite on
    their null space, both as far as ``SENSITIVITY`` says.
    """

    data: dict
    answer: Point
    active: Active

    def __iter__(self):
        """Yield (index, data, answer, active) of each problem."""
        for index in np.ndindex(self.answer.x.shape[:-1]):
            answer = Point(*(part[index] for part in self.answer))
            active = Active(*(part[index] for part in self.active))
            yield index, one(self.data, index), answer, active

    def astype(self, dtype):
        """Round the data to ``dtype``; the answer is that of the rounded data."""
        rounded = replace(self, data={k: np.asarray(v, dtype) for k, v in self.data.items()})
        return replace(rounded, answer=rounded.solved())

    def solved(self):
        """Exact answer for the data as they are, the active sides being what they were."""
        answers = [exact_solution(data, active) for _, data, _, active in self]
        return _stack(answers, self.answer.x.shape[:-1])


def _stack(each, batch):
    """Tuple of arrays from a list of tuples of arrays, with the batch's axes in front."""
    stacked = (np.stack(parts) for parts in zip(*each, strict=True))
    return type(each[0])(*(part.reshape(batch + part.shape[1:]) for part in stacked))


def stack(problems, batch=None):
    """Batch of single problems, each a dictionary of arguments."""
    batch = (len(problems),) if batch is None else batch
    stacked = {name: np.stack([data[name] for data in problems]) for name in problems[0]}
    return {name: value.reshape(batch + value.shape[1:]) for name, value in stacked.items()}


def known(form, seed, batch=(), shared=()):
    """Batch of problems of one form; of Q, G and A those named ``shared`` are given once."""
    rng = np.random.default_rng(seed)
    common = {name: value for name, value in _matrices(form, rng).items() if name in shared}
    drawn = [_well_posed(form, common, rng) for _ in range(int(np.prod(batch)))]
    data = stack([problem.data for problem in drawn], batch) | common
    answer = _stack([problem.answer for problem in drawn], batch)
    return Known(data, answer, _stack([problem.active for problem in drawn], batch))


def _well_posed(form, common, rng):
    """Draw until the active KKT matrix is as well conditioned as promised."""
    for _ in range(500):
        problem = _draw(form, _matrices(form, rng) | common, rng)
        if sensitivity(problem.data, problem.active) <= SENSITIVITY * form.condition:
            return problem
    raise ValueError(f"found no well-posed problem of the form {form}")


def _matrices(form, rng):
    """Q with a spectrum from 1 down to 1/condition, then zeros; G and A normal."""
    n, rank = form.n, form.n if form.rank is None else form.rank
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0][:, :rank]
    Q = basis * np.logspace(0, -np.log10(form.condition), rank) @ basis.T
    matrices = {"Q": (Q + Q.T) / 2}
    if form.m:
        matrices["G"] = rng.standard_normal((form.m, n))
    if form.p:
        matrices["A"] = rng.standard_normal((form.p, n))
    return matrices


def _draw(form, matrices, rng):
    """One problem around a random answer."""
    x, y = rng.standard_normal(form.n), rng.standard_normal(form.p)
    G, A = matrices.get("G", np.zeros((0, form.n))), matrices.get("A", np.zeros((0, form.n)))
    row_sides, box_sides = _sides(form.rows, form.m, rng), _sides(form.box, form.n, rng)
    box_sides[:, : form.fixed] = True
    active = _active(form, row_sides, box_sides, rng)
    z, z_box = (side * rng.uniform(MARGIN, 1 + MARGIN, len(side)) for side in active)
    h, h_lower = _limits(G @ x, row_sides, active.rows, rng)
    ub, lb = _limits(x, box_sides, active.box, rng)
    ub[: form.fixed] = lb[: form.fixed] = x[: form.fixed]
    data = matrices | {"q": -(matrices["Q"] @ x + G.T @ z + A.T @ y + z_box)}
    if form.p:
        data["b"] = A @ x
    if form.m:
        data |= {"h": h} if form.rows != "lower" else {}
        data |= {"h_lower": h_lower} if form.rows != "upper" else {}
    data |= {"ub": ub} if form.box not in ("none", "lower") or form.fixed else {}
    data |= {"lb": lb} if form.box not in ("none", "upper") or form.fixed else {}
    return Known(data, Point(x, z, y, z_box), active)


def _sides(kind, size, rng):
    """Which sides exist: a (2, size) mask, upper ones first."""
    if kind == "mixed":
        return rng.random((2, size)) < 0.6
    upper, lower = {"none": (0, 0), "upper": (1, 0), "lower": (0, 1), "both": (1, 1)}[kind]
    return np.array([[upper] * size, [lower] * size], bool)


def _active(form, row_sides, box_sides, rng):
    """Draw the active sides: enough to make x unique, no more than leave them independent."""
    rank = form.n if form.rank is None else form.rank
    sides = np.hstack([row_sides, box_sides])
    signs = np.where(rng.random(sides.shape[1]) < 0.5, 1, -1)
    signs = np.where(sides.all(axis=0), signs, sides[0].astype(int) - sides[1])
    fixed = np.arange(form.m, form.m + form.fixed)
    candidates = np.setdiff1d(np.flatnonzero(signs), fixed)
    most = form.n - form.p - form.fixed
    count = min(rng.integers(max(most - rank, 0), most + 1), len(candidates))
    chosen = np.concatenate([fixed, rng.choice(candidates, count, replace=False)]).astype(int)
    active = np.zeros_like(signs)
    active[chosen] = signs[chosen]
    return Active(active[: form.m], active[form.m :])


def _limits(value, sides, active, rng):
    """Upper and lower limits around ``value``: touching it on active sides, infinite where none."""
    upper, lower = rng.uniform(MARGIN, 1 + MARGIN, (2, len(value)))
    upper = np.where(active > 0, value, value + upper)
    lower = np.where(active < 0, value, value - lower)
    return np.where(sides[0], upper, np.inf), np.where(sides[1], lower, -np.inf)


def paper(n, m, p, seed, batch=()):
    """Profile of the OptNet paper's timing runs (Amos & Kolter 2017): feasible, answer unknown."""
    rng = np.random.default_rng(seed)
    L, G = rng.random((*batch, n, n)), rng.standard_normal((*batch, m, n))
    x0, s0 = rng.standard_normal((*batch, n)), rng.random((*batch, m))
    Q = L @ np.swapaxes(L, -1, -2) + 1e-3 * np.eye(n)
    data = {"Q": Q, "q": rng.standard_normal((*batch, n)), "G": G, "h": (G @ x0[..., None])[..., 0]}
    data["h"] += s0
    if p:
        data["A"] = rng.standard_normal((*batch, p, n))
        data["b"] = (data["A"] @ x0[..., None])[..., 0]
    return data


def neighbours(problem, name, count, size=1e-5):
    """Batch that differs from one known problem in one argument by perturbations of ``size``.

    Every other argument stays shared. ``size`` times the sensitivity is far below ``MARGIN``, so
    the same sides hold; for fixed variables, whose bounds would part, they do not.
    """
    value = np.asarray(problem.data[name])
    noise = np.random.default_rng(count).standard_normal((count, *value.shape))
    if name == "Q":  # stays symmetric, and grows: a singular Q must not become indefinite
        noise = noise @ np.swapaxes(noise, -1, -2)
    active = Active(*(np.broadcast_to(part, (count, *part.shape)) for part in problem.active))
    empty = Point(*(np.broadcast_to(part, (count, *part.shape)) for part in problem.answer))
    batch = Known(problem.data | {name: value + size * noise}, empty, active)
    return replace(batch, answer=batch.solved())

"""Whole batches built around a ray, and twins that only seem to have one.

An infeasible problem is built around multipliers (z, y, z_box) of norm 1 with

    G'z + A'y + z_box = 0,   h'z+ - h_lower'(-z)+ + ub'z_box+ - lb'(-z_box)+ + b'y = -margin

so that every x violates some row by margin / (n + m + p) or more; an unbounded one around a
direction r of norm 1 that no limit blocks, with Qr = 0 and q'r = -margin, from a point that is
feasible. All other numbers are near 1, hence the margin is a relative one. Rounding leaves about
1e-15 in the zeros: with margins down to 1e-4 a residual of 1e-6 * margin, which is what
``checks.assert_certificate`` grants, is five digits away from it.

The twins have a solution, because a feasible point and multipliers of the right signs are known. A
ray that passes with tolerance t excludes feasible points (multipliers) of one-norm below about 1/t;
theirs are below 1e5, so that no tolerance under 1e-5 excuses a ray.
"""

from dataclasses import dataclass

import numpy as np
from oracle import Point
from problems import Form

SIDES = {"none": (False, False), "upper": (True, False), "lower": (False, True)}
SIDES |= {"both": (True, True)}


@dataclass(frozen=True)
class Proved:
    """A batch, and what proves it to be what it is called."""

    data: dict
    x: np.ndarray | None
    """A feasible point, if there is one."""
    multipliers: tuple
    """z, y, z_box of ``slope``, or the ray of an infeasible problem, or NaN."""
    slope: np.ndarray | None = None
    """If bounded: Q slope + q + G'z + A'y + z_box = 0; need not be feasible."""
    ray: np.ndarray | None = None
    """Of an unbounded problem."""

    def certificate(self):
        """The ray as an answer holds it."""
        return Point(np.nan * self.data["q"] if self.ray is None else self.ray, *self.multipliers)


def draw_form(rng, blocked):
    """Random shape. ``blocked``: with rows that can close a ray, else with a way out."""
    n = int(rng.integers(1, 31))
    m, p = int(rng.integers(0, 2 * n + 2)), int(rng.integers(0, n // 2 + 1))
    rows = str(rng.choice(["upper", "lower", "both", "mixed"]))
    box = str(rng.choice(["none", "lower", "upper", "mixed"] + ["both"] * blocked))
    rank = [None, 0, int(rng.integers(0, n + 1))][rng.integers(3)]
    if blocked:
        m += int(rng.integers(1, n + 2)) * (m + p == 0)
    else:
        rank, p = int(rng.integers(0, n)), min(p, n - 1)
    return Form(n, m, p, rows, box, rank=rank)


# ---- around multipliers --------------------------------------------------------------------------


def infeasible(form, seed, count, margin):
    """Batch around a Farkas ray; half of the seeds have a cost that is bounded, the rest any."""
    draft, v, y = _around_multipliers(form, seed, count)
    w = np.concatenate([v, y], axis=1)
    share = draft.rng.uniform(-1, 1, w.shape) * np.abs(w)  # of each row in what the ray sums up to
    largest = np.abs(w).argmax(axis=1)[:, None]
    np.put_along_axis(share, largest, 0, 1)
    missing = -np.reshape(margin, (-1, 1)) - share.sum(axis=1, keepdims=True)
    np.put_along_axis(share, largest, missing, 1)
    share, of_equalities = np.split(share, [v.shape[1]], axis=1)
    b = _times(draft.A, draft.x) + _quotient(of_equalities, y)
    q = draft.bounded_cost()[0] if draft.rng.random() < 0.5 else draft.normal(form.n)
    data = draft.data(q, draft.limits(v, share), b)
    return Proved(data, None, (v[:, : form.m], y, v[:, form.m :]))


def nearly_infeasible(form, seed, count, margin):
    """Twin of ``infeasible``: its rows leave room of ``margin`` in place of missing each other."""
    draft, v, _ = _around_multipliers(form, seed, count)
    share = draft.rng.random(v.shape) * (v != 0)
    share *= np.reshape(margin, (-1, 1)) / np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
    limits = draft.limits(v, share)
    q, slope, multipliers = draft.bounded_cost()
    data = draft.data(q, limits, _times(draft.A, draft.x))
    return Proved(data, draft.x, multipliers, slope)


def _around_multipliers(form, seed, count):
    """Draft with rows that cancel: C'v + A'y = 0, (v, y) of norm 1; some other rows dependent."""
    draft = Draft(form, seed, count)
    rng, m, n, p = draft.rng, form.m, form.n, form.p
    on = rng.random(m + n + p) < rng.uniform(0.1, 1)  # rows of C, then of A
    closing = int(rng.integers(m + p))
    closing += n * (closing >= m)
    on[closing] = True
    if closing < m:
        draft.upper[:, closing] |= ~draft.lower[:, closing]
    by_box = form.box == "both" and rng.random() < 0.5
    on[m : m + n] &= not by_box
    if rng.random() < 0.3:
        _repeat_rows(draft, on)
    v, y = draft.weights(on)
    if by_box:
        v[:, m:] = -draft.pull(v, y)
    elif closing < m:
        v[:, closing] = np.sign(v[:, closing])
        draft.G[:, closing] -= v[:, closing, None] * draft.pull(v, y)
    else:
        k = closing - m - n
        y[:, k] = np.sign(y[:, k])
        draft.A[:, k] -= y[:, k, None] * draft.pull(v, y)
    norm = np.maximum(_norm(v), _norm(y))
    return draft, v / norm, y / norm


def _repeat_rows(draft, on):
    """Make rows off the ray multiples or sums of others off the ray."""
    m, n = draft.form.m, draft.form.n
    rows, equalities = np.flatnonzero(~on[:m]), np.flatnonzero(~on[m + n :])
    if len(rows) > 1:
        draft.G[:, rows[-1]] = 2 * draft.G[:, rows[0]]
    if len(equalities) > 2:
        i, j, k = equalities[[0, 1, -1]]
        draft.A[:, k] = draft.A[:, i] + 0.5 * draft.A[:, j]


# ---- around a direction --------------------------------------------------------------------------


def unbounded(form, seed, count, margin):
    """Batch that is feasible and falls along a ray with slope ``margin``."""
    draft, r = _around_direction(form, seed, count)
    q = draft.normal(form.n)
    q -= r * (_dot(q, r) + np.reshape(margin, (-1, 1))) / _dot(r, r)
    data = draft.data(q, draft.limits(), _times(draft.A, draft.x))
    none = (np.full((count, size), np.nan) for size in (form.m, form.p, form.n))
    return Proved(data, draft.x, tuple(none), ray=r)


def nearly_unbounded(form, seed, count, margin):
    """Twin of ``unbounded``: bounded on the ray, where half of the seeds bend by ``margin``.

    Down that bend the minimum is about 1 / margin away.
    """
    draft, r = _around_direction(form, seed, count)
    limits = draft.limits()
    q, slope, multipliers = draft.bounded_cost()
    if draft.rng.random() < 0.5:
        margin = np.reshape(margin, (-1, 1))
        bend = np.sqrt(margin) * r
        far = 1 / (margin * np.abs(r).sum(axis=1, keepdims=True))
        q -= bend * _dot(bend, slope + far * r)
        slope = slope + far * r
        draft.L = np.concatenate([draft.L, bend[:, None]], axis=1)
    data = draft.data(q, limits, _times(draft.A, draft.x))
    return Proved(data, draft.x, multipliers, slope)


def _around_direction(form, seed, count):
    """Draft with a direction r of norm 1: Lr = 0, Ar = 0, no side blocks it; rows may repeat."""
    draft = Draft(form, seed, count)
    rng, m, p = draft.rng, form.m, form.p
    above, below = draft.upper[:, m:], draft.lower[:, m:]
    sign = np.where(above, np.where(below, 0, -1), np.where(below, 1, rng.choice([-1, 1])))
    r = sign * rng.uniform(0.1, 1, sign.shape) * (rng.random(sign.shape) < rng.uniform(0.2, 1))
    stuck = ~r.any(axis=1)  # these get a first variable without upper bound
    above[stuck, 0], r[stuck, 0] = False, 1
    r /= _norm(r)
    draft.L, draft.A = _flattened(draft.L, r), _flattened(draft.A, r)
    upper, lower, rise = draft.upper[:, :m], draft.lower[:, :m], _times(draft.G, r)
    blocks = (upper & (rise > 0)) | (lower & (rise < 0))
    flat = (upper & lower) | (rng.random((count, m)) < 0.2)
    draft.G = np.where(blocks[..., None], -draft.G, draft.G)
    draft.G = np.where(flat[..., None], _flattened(draft.G, r), draft.G)
    if rng.random() < 0.3:
        for size, blocks in ((p, [draft.A]), (m, [draft.G, upper, lower])):
            for rows in blocks:
                rows[:, size // 2 + 1 :] = rows[:, : size - size // 2 - 1]
        draft.A[:, p // 2 + 1 :] *= 2
    return draft, r


def _flattened(M, r):
    """The rows of M without their part along r; once more for the rounding of the first time."""
    for _ in range(2):
        M = M - _times(M, r)[..., None] * (r / _dot(r, r))[:, None]
    return M


# ---- what both have in common --------------------------------------------------------------------


class Draft:
    """Random blocks of a batch, open to changes: Q = L'L, G, A, sides of C = [G; I], a point x."""

    def __init__(self, form, seed, count):
        self.rng = rng = np.random.default_rng(seed)
        self.form, self.count = form, count
        self.L = self.normal(form.n if form.rank is None else form.rank, form.n) / form.n**0.5
        self.G, self.A = self.normal(form.m, form.n), self.normal(form.p, form.n)
        kinds = [form.rows] * form.m + [form.box] * form.n
        self.upper, self.lower = rng.random((2, count, form.m + form.n)) < 0.6
        for i, kind in enumerate(kinds):
            if kind != "mixed":
                self.upper[:, i], self.lower[:, i] = SIDES[kind]
        self.x = self.normal(form.n)

    def normal(self, *shape):
        return self.rng.standard_normal((self.count, *shape))

    def C(self):
        eye = np.broadcast_to(np.eye(self.form.n), (self.count, self.form.n, self.form.n))
        return np.concatenate([self.G, eye], axis=1)

    def pull(self, v, y):
        """C'v + A'y."""
        return _times(self.C().swapaxes(1, 2), v) + _times(self.A.swapaxes(1, 2), y)

    def weights(self, on):
        """Multipliers (v, y) in the rows ``on`` that have a side, with its sign."""
        rng, rows = self.rng, self.upper.shape[1]
        either = rng.choice([-1, 1], self.upper.shape)
        sign = np.where(self.upper & self.lower, either, self.upper * 1 - self.lower * 1)
        v = sign * rng.uniform(0.1, 1, sign.shape) * on[:rows]
        y = rng.uniform(0.1, 1, (self.count, self.form.p)) * on[rows:]
        return v, y * rng.choice([-1, 1], y.shape)

    def bounded_cost(self):
        """A q for which multipliers exist, so that the objective is bounded below; they too."""
        v, y = self.weights(self.rng.random(self.upper.shape[1] + self.form.p) < 0.5)
        slope = self.normal(self.form.n)
        Q_slope = _times(self.L.swapaxes(1, 2), _times(self.L, slope))
        m = self.form.m
        return -(Q_slope + self.pull(v, y)), slope, (v[:, :m], y, v[:, m:])

    def limits(self, v=0, share=0):
        """Limits around Cx: ``share`` / v away on the side that v points to, else 0.1 to 1."""
        Cx = _times(self.C(), self.x)
        away, v = _quotient(share, v), np.broadcast_to(v, Cx.shape)
        up, down = self.rng.uniform(0.1, 1, (2, *Cx.shape))
        upper = Cx + np.where(v > 0, away, up + np.maximum(away, 0))
        lower = Cx + np.where(v < 0, away, np.minimum(away, 0) - down)
        return np.where(self.upper, upper, np.inf), np.where(self.lower, lower, -np.inf)

    def data(self, q, limits, b):
        """The arguments of ``solve``."""
        (upper, lower), m = limits, self.form.m
        data = {"Q": self.L.swapaxes(1, 2) @ self.L, "q": q}
        data |= {"G": self.G, "h": upper[:, :m], "h_lower": lower[:, :m]} if m else {}
        data |= {"A": self.A, "b": b} if self.form.p else {}
        data |= {"ub": upper[:, m:], "lb": lower[:, m:]} if self.form.box != "none" else {}
        return data


def _norm(v):
    return np.abs(v).max(axis=1, initial=0, keepdims=True)


def _dot(u, v):
    return (u * v).sum(axis=1, keepdims=True)


def _times(M, v):
    return (M @ v[..., None])[..., 0]


def _quotient(a, b):
    """a / b, zero where b is."""
    return np.where(b != 0, a / np.where(b != 0, b, 1), 0)

"""Gradients through the closest feasible problem (17), problem by problem."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qpcore.closest import Clash, clashes, kept_rows, multipliers
from qpcore.gradients import Shares, assemble
from qpcore.kernels.transfer import Vectors
from qpcore.linear import Linear, touches
from qpcore.linearise import linearise
from qpcore.sensitivity import Trust
from qpcore.settings import Untrusted
from qpcore.sides import onto_rows, sides_of, split, times
from qpcore.solution import Solution
from qpcore.untrusted import apply_policy
from qpcore.verdict import MOST_ERROR, SAFETY

# How large a part of the shift's space a unit vector must have in rows that move, to count.
FELT = 1e-6


class Piece(NamedTuple):
    """More outer products and shares of limits, as `assemble` takes them."""

    at: Vectors
    adjoint: Vectors
    upper: Shares


def pull_closest(
    solution: Solution, right: Vectors, wanted: frozenset[str]
) -> tuple[dict[str, np.ndarray], Trust]:
    """Gradients of those wanted, and how far they can be trusted; `pull_back` gives the rest."""
    linear, pieces = with_pieces(solution, right, wanted)
    at, adjoint, upper = linear.at, linear.found, linear.upper
    threads = solution.settings.thread_count()
    gradients = assemble(solution.problem, at, adjoint, upper, wanted, threads)
    assemble_pieces(gradients, solution, pieces, wanted)
    return gradients, linear.trust


def with_pieces(
    solution: Solution, right: Vectors, wanted: frozenset[str]
) -> tuple[Linear, list[Piece]]:
    """What `linearise` gives, infeasible problems at the closest feasible ones, and two pieces.

    The gradient of N has four outer products, and a row whose limits cross two sides that give way;
    one set of vectors holds two products and one side.
    """
    places, touched = np.flatnonzero(solution.closest), touches(right)
    linear = linearise(without_policy(solution), without(right, places))
    pieces = [empty(linear), empty(linear)]
    lost = np.ones(len(places), bool)
    for clash in clashes(without_policy(solution), places, violation):
        lost[np.searchsorted(places, clash.places)] = ~clash.answer.solved
        given = Vectors._make(v[clash.places].astype(float) for v in right)
        trust = pull(linear, pieces, clash, given)
        certify(linear, clash, trust, wanted)
    for vectors in linear.found:
        vectors[places[lost]] = np.where(touched, np.nan, 0)[places[lost], None]
    linear.doubtful[places] = ~linear.trust.trusted[places]
    linear = apply_policy(solution, linear, right)
    if solution.settings.untrusted in (Untrusted.ZERO, Untrusted.NAN):
        blank = linear.found.x[linear.doubtful, :1]
        for vectors in (v for piece in pieces for v in piece.adjoint):
            vectors[linear.doubtful] = blank
    return linear, pieces


def without_policy(solution: Solution) -> Solution:
    """The solution with settings under which doubtful problems are left alone."""
    plain = replace(solution.settings, untrusted=Untrusted.LEAVE, infeasible="certificate")
    return replace(solution, settings=plain)


def without(right: Vectors, places: np.ndarray) -> Vectors:
    """Right-hand sides that are zero in some problems."""
    parts = [part.copy() for part in right]
    for part in parts:
        part[places] = 0
    return Vectors._make(parts)


def empty(linear: Linear) -> Piece:
    """A piece of zeros."""
    at, adjoint, upper = (
        [np.zeros_like(part) for part in group] for group in (linear.at, linear.at, linear.upper)
    )
    return Piece(Vectors._make(at), Vectors._make(adjoint), Shares._make(upper))


def violation(part: Solution) -> np.ndarray:
    """(k,) norm of the shift, which is what x violates."""
    sides = sides_of(part.problem)
    excess = times(sides.M, part.x) - sides.limit
    excess = np.where(sides.sign == 0, excess, np.maximum(sides.sign * excess, 0))
    return np.sqrt((np.where(sides.present, excess, 0) ** 2).sum(axis=1))


def pull(linear: Linear, pieces: list[Piece], clash: Clash, given: Vectors) -> Trust:
    """Write what (17) says of some problems: d and the point, ρ beside d_w, (I - P)v̄ beside w."""
    sides, gives, U, sigma = clash.sides, clash.gives, clash.U, clash.sigma
    bar = np.where(gives, rows_of(given, sides.widths)[:, sides.row], 0)
    seen = times(U.swapaxes(-1, -2), bar)
    G_loose, box_loose, _ = split(onto_rows(sides, gives.astype(float)) > 0, sides.widths)
    z, z_box = np.where(G_loose, 0, given.z), given.z_box
    z_box = np.where(box_loose, 0, z_box) if box_loose.shape[1] else z_box
    inner = linearise(clash.answer, Vectors(given.x, z, seen / sigma, z_box))
    at, d = inner.at, inner.found
    w, d_w = (times(clash.Vt.swapaxes(-1, -2), v.y / sigma**2) for v in (at, d))
    moved = times(U, d.y / sigma)
    rho = np.where(gives, times(sides.M, at.x) - sides.limit, 0)
    width = sum(sides.widths[:2])
    second = np.zeros_like(gives)
    second[:, width : 2 * width] = gives[:, :width] & gives[:, width : 2 * width]
    rows = kept_rows(clash, d) + onto_rows(sides, np.where(second, 0, moved))
    upper = np.concatenate([inner.upper.z, inner.upper.z_box[:, : sides.widths[1]]], axis=1)
    upper = np.where(gives[:, :width], 1, np.where(gives[:, width : 2 * width], 0, upper))
    put(linear.at, clash, at.x, multipliers(clash, at))
    put(linear.found, clash, d.x, rows)
    linear.upper.z[clash.places] = upper[:, : sides.widths[0]]
    linear.upper.z_box[clash.places] = upper[:, sides.widths[0] :]
    put(pieces[0].at, clash, at.x, onto_rows(sides, rho))
    put(pieces[0].adjoint, clash, d_w, onto_rows(sides, np.where(second, moved, 0)))
    put(pieces[1].at, clash, w, 0 * rows)
    put(pieces[1].adjoint, clash, 0 * w, onto_rows(sides, bar - times(U, seen)))
    return inner.trust


def put(vectors: Vectors, clash: Clash, x: np.ndarray, rows: np.ndarray) -> None:
    """Write x and what stands beside the rows to the places of some problems."""
    z, z_box, y = split(rows, clash.sides.widths)
    for whole, values in zip(vectors, (x, z, y, z_box), strict=True):
        whole[clash.places] = values


def rows_of(v: Vectors, widths: tuple[int, int, int]) -> np.ndarray:
    """(k, rows) what stands beside the rows of G, the bounds, and A."""
    return np.concatenate([v.z, v.z_box[:, : widths[1]], v.y], axis=1)


def certify(linear: Linear, clash: Clash, trust: Trust, wanted: frozenset[str]) -> None:
    """Note how far the derivatives of some problems can be trusted, N's condition included."""
    sigma, dtype = clash.sigma, linear.at.x.dtype
    grows = (sigma.max(axis=1, initial=1e-300) / sigma.min(axis=1, initial=np.inf)) ** 2
    margin = np.where(rank_can_grow(clash, wanted), 0, np.minimum(trust.margin, clash.margin))
    error = trust.error + SAFETY * np.finfo(float).eps * grows
    least = np.sqrt(clash.answer.settings.tolerance(dtype))
    trusted = trust.trusted & (margin > least) & (error <= MOST_ERROR[dtype])
    condition = np.maximum(trust.condition, grows)
    found = Trust(margin, trust.residual, condition, error, trusted)
    for name, whole in vars(linear.trust).items():
        whole[clash.places] = getattr(found, name)


def rank_can_grow(clash: Clash, wanted: frozenset[str]) -> np.ndarray:
    """(k,) whether some change of G or A, where wanted, lets rows that clash meet far away."""
    sides, U = clash.sides, clash.U
    m, box, p = sides.widths
    moves = np.repeat(["G" in wanted, False, "A" in wanted], (m, box, p))
    which = np.flatnonzero(moves)
    ones = clash.gives[..., None] & (sides.row[:, None] == which)
    outside = ones - U @ (U.swapaxes(-1, -2) @ ones)
    felt = np.sqrt((outside**2).sum(axis=1)).max(axis=1, initial=0) > FELT
    return felt & (clash.sigma.shape[1] < clash.Vt.shape[2])


def assemble_pieces(
    gradients: dict[str, np.ndarray],
    solution: Solution,
    pieces: list[Piece],
    wanted: frozenset[str],
) -> None:
    """Add the pieces to the gradients."""
    threads = solution.settings.thread_count()
    names_of = ({"G", "A", "h_lower", "lb"}, {"G", "A"})
    for piece, names in zip(pieces, names_of, strict=False):
        more = assemble(solution.problem, *piece, wanted & names, threads)
        for name, gradient in more.items():
            gradients[name] = gradients[name] + gradient

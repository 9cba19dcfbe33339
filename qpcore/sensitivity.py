"""How the answer depends on the data: gradients, tangents, and how far they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Trust:
    """How far the derivative can be trusted in every problem; * is the batch shape.

    NaN, and not trusted, where there is no answer to differentiate.
    """

    margin: np.ndarray
    """(*) between 0 and 1, the distance from where the derivative breaks down. Over the
    inequalities, the smallest of max(slack / largest primal term, multiplier / largest dual term),
    in the solver's scale of the data: near zero, a constraint is active without a multiplier.
    Exactly zero where x or the multipliers are not unique: active rows are dependent, or the
    objective is flat along them."""
    residual: np.ndarray
    """(*) residual of the linear system behind the derivative, relative to its largest term."""
    condition: np.ndarray
    """(*) estimate of how much that system enlarges errors, in the solver's scale of the data."""
    error: np.ndarray
    """(*) estimate of the relative error of the derivative, made of the above and of the error of
    the answer; it exceeds the true error in nearly all problems with a derivative."""
    trusted: np.ndarray
    """(*) bool: margin above the root of the tolerance, below which slack and multiplier cannot be
    told from zero, and error at most 1e-3 (0.1 in float32)."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of a scalar function of the solution with respect to the problem's data.

    Each has the shape in which its argument was given, or is None where that was absent or its
    gradient not wanted. What the batch shares receives the sum over the batch, not the mean. The
    gradient of Q is symmetric: it is the gradient with respect to Q's symmetric part.
    """

    Q: np.ndarray | None = None
    q: np.ndarray | None = None
    G: np.ndarray | None = None
    h: np.ndarray | None = None
    A: np.ndarray | None = None
    b: np.ndarray | None = None
    lb: np.ndarray | None = None
    ub: np.ndarray | None = None
    h_lower: np.ndarray | None = None
    trust: Trust | None = None
    """How far these can be trusted, problem by problem."""


@dataclass(frozen=True, eq=False)
class Tangents:
    """How the solution moves, to first order, when the problem's data move along their tangents."""

    x: np.ndarray
    """(*, n)"""
    z: np.ndarray
    """(*, m)"""
    y: np.ndarray
    """(*, p)"""
    z_box: np.ndarray
    """(*, n)"""
    trust: Trust | None = None
    """How far these can be trusted, problem by problem."""

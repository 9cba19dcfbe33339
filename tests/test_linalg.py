"""Packs and the linear algebra on them against plain NumPy."""

import math

import numpy as np
import pytest
from numba import njit

from qpcore.kernels.factor import factor
from qpcore.kernels.linalg import multiply, multiply_symmetric, multiply_transposed, solve_factored
from qpcore.kernels.machine import any_lane, like, negate, team_of_one, where
from qpcore.kernels.pack import lanes_of
from qpcore.kernels.packed import as_floats, as_packs

# n, m, p around the tile of four, with every block absent once
SIZES = [(1, 1, 0), (2, 1, 1), (4, 8, 5), (7, 5, 3), (9, 0, 6), (10, 10, 0), (37, 43, 21)]
compiled = njit(error_model="numpy", _nrt=False)


@compiled
def all_of_it(K, diagonal, Gt, weight, v, Qd, x, z, Qx, Gz, Ax, coupled, floor):
    """Every routine once, on floats."""
    team = team_of_one()
    n, m = Gt.shape[0], Gt.shape[1]
    factor(K, diagonal, Gt, m, weight, K.shape[0], coupled, floor, team)
    solve_factored(K, diagonal, n, coupled, v, team)
    multiply_symmetric(Qx, K, Qd, coupled, x, team)
    multiply(Gz, Gt, z, team)
    multiply_transposed(Ax, K[:n, n:], x, team)


@compiled
def all_of_it_in_packs(K, diagonal, Gt, weight, v, Qd, x, z, Qx, Gz, Ax, coupled, floor):
    """Every routine once, on packs."""
    all_of_it(
        as_packs(K),
        as_packs(diagonal),
        as_packs(Gt),
        as_packs(weight),
        as_packs(v),
        as_packs(Qd),
        as_packs(x),
        as_packs(z),
        as_packs(Qx),
        as_packs(Gz),
        as_packs(Ax),
        coupled,
        floor,
    )


def one_by_one(*arguments):
    """`all_of_it` on each slot by itself."""
    *arrays, coupled, floor = arguments
    for slot in range(arrays[0].shape[-1]):
        alone = [np.ascontiguousarray(array[..., slot]) for array in arrays]
        all_of_it(*alone, coupled, floor)
        for array, result in zip(arrays, alone, strict=True):
            array[..., slot] = result


def slots_last(array, dtype):
    """(problems, ...) to (..., slots), as packs lie in memory."""
    return np.ascontiguousarray(np.moveaxis(array, 0, -1)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "diagonal"])
@pytest.mark.parametrize("routine", [all_of_it_in_packs, one_by_one], ids=["packs", "floats"])
def test_kernels_equal_numpy(routine, coupled, size, dtype):
    n, m, p = size
    rng, B = np.random.default_rng(n), lanes_of(dtype)
    if coupled:
        L = rng.standard_normal((B, n, n))
        Q = L @ L.swapaxes(1, 2) + np.eye(n)
    else:
        m, Q = 0, (1 + rng.random((B, n, 1))) * np.eye(n)
    G, A = rng.standard_normal((B, m, n)), rng.standard_normal((B, p, n))
    weight, x, z = rng.random((B, m)), rng.standard_normal((B, n)), rng.standard_normal((B, m))
    right = rng.standard_normal((B, n + p))
    K = np.zeros((B, n + p, n + p))
    K[:, :n, :n], K[:, n:, :n], K[:, :n, n:] = Q, A, A.swapaxes(1, 2)
    K[:, range(n, n + p), range(n, n + p)] = -1e-2  # p may exceed n: keep it well conditioned
    condensed = K.copy()
    condensed[:, :n, :n] += np.einsum("bki,bk,bkj->bij", G, weight, G)

    def diagonal_of(M):
        return slots_last(np.einsum("bii->bi", M), dtype)

    v = slots_last(right, dtype)
    outs = [np.empty((k, B), dtype) for k in (n, n, p)]
    routine(
        slots_last(np.triu(K, 1), dtype),
        diagonal_of(K),
        slots_last(G.swapaxes(1, 2), dtype),
        slots_last(weight, dtype),
        v,
        diagonal_of(Q),
        slots_last(x, dtype),
        slots_last(z, dtype),
        *outs,
        coupled,
        dtype(1e-12),
    )
    expected = [
        np.linalg.solve(condensed, right[..., None])[..., 0],
        np.einsum("bij,bj->bi", Q, x),
        np.einsum("bki,bk->bi", G, z),
        np.einsum("bki,bi->bk", A, x),
    ]
    # The solve loses what its condition costs; products lose rounding only.
    eps = np.finfo(dtype).eps
    tolerance = [100 * eps * np.linalg.cond(condensed).max(), *3 * [100 * eps]]
    for found, right_answer, tol in zip([v, *outs], expected, tolerance, strict=True):
        scale = np.abs(right_answer).max(initial=1.0)
        np.testing.assert_allclose(
            np.moveaxis(found, -1, 0), right_answer, rtol=0, atol=tol * scale
        )


@compiled
def operators(a, b, out):
    """Operators of packs; NaN compares false."""
    a, b, out = as_packs(a), as_packs(b), as_packs(out)
    x, y = a[0], b[0]
    out[0] = (x + 2 * y) / (y - 0.5) * -x
    out[1] = where((x < y) & negate(y > 2), math.sqrt(abs(x)), 7)
    out[2] = where((x <= y) | (x == x), like(1, x), like(0, x))
    as_floats(out)[3, 1] = 5
    out[4] = like(1 if any_lane(x > 1e9) else 0, x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_packs_compute_as_arrays_do(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, lanes_of(dtype))).astype(dtype)
    a[0, 2] = np.nan
    out = np.zeros((5, a.shape[1]), dtype)
    operators(a, b, out)
    x, y = a[0], b[0]
    np.testing.assert_allclose(out[0], (x + 2 * y) / (y - 0.5) * -x, rtol=1e-5)
    expected = np.where((x < y) & ~(y > 2), np.sqrt(np.abs(x)), 7)
    np.testing.assert_allclose(out[1], expected, rtol=1e-6)
    np.testing.assert_array_equal(out[2], np.where(np.isnan(x), 0, 1))
    assert out[3].tolist() == [5.0 if slot == 1 else 0.0 for slot in range(len(x))]
    assert (out[4] == 0).all()

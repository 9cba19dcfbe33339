"""Linear algebra of many lanes against NumPy: lanes are threads, which meet at real barriers.

This file is both the test and, run as a program, the process in which kernels are plain Python.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest

# n, m, p around the tile of four and the number of lanes, with every block absent once.
SIZES = [(1, 1, 0), (2, 1, 1), (4, 8, 5), (7, 5, 3), (9, 0, 6), (10, 10, 0), (17, 6, 5)]

# 32 lanes are a grid of four by eight; five go along the rows.
LANES = (1, 5, 32)


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "diagonal"])
@pytest.mark.parametrize("lanes", LANES)
def test_lanes_together_equal_numpy(lanes, coupled):
    posed = [problem(size, coupled) for size in SIZES]
    found = pickle.loads(
        subprocess.run(
            [sys.executable, __file__],
            input=pickle.dumps((lanes, coupled, posed)),
            env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
            stdout=subprocess.PIPE,
            check=True,
            timeout=100,
        ).stdout
    )
    for size, given, answers in zip(SIZES, posed, found, strict=True):
        expected, condition = by_numpy(*given)
        for answer, right in zip(answers, expected, strict=True):
            tol = 1e-14 * condition * np.abs(right).max(initial=1.0)
            np.testing.assert_allclose(answer, right, rtol=0, atol=tol, err_msg=str(size))


def problem(size, coupled):
    """Q, G, A, weights, and vectors to multiply and solve with."""
    n, m, p = size
    rng = np.random.default_rng(n)
    L = rng.standard_normal((n, n))
    Q = L @ L.T + np.eye(n) if coupled else np.diag(1 + rng.random(n))
    m = m if coupled else 0
    G, A = rng.standard_normal((m, n)), rng.standard_normal((p, n))
    weight, x, z = rng.random(m), rng.standard_normal(n), rng.standard_normal(m)
    return Q, G, A, weight, x, z, rng.standard_normal(n + p)


def kkt(Q, A):
    """[[Q, A'], [A, -I/100]]."""
    p = len(A)
    return np.block([[Q, A.T], [A, -1e-2 * np.eye(p)]])


def by_numpy(Q, G, A, weight, x, z, right):
    """What the lanes should find, and the condition of what they solve."""
    K = kkt(Q, A)
    K[: len(Q), : len(Q)] += G.T @ np.diag(weight) @ G
    answers = np.linalg.solve(K, right), Q @ x, G.T @ z, A @ x
    n, p = len(Q), len(A)
    whole = np.block([[Q, A.T, G.T], [A, np.zeros((p, p + len(G)))]])
    norms = [np.abs(whole[:n]).max(axis=1), *(np.abs(M).max(axis=1) for M in (A, G))]
    loaded = np.hstack([np.zeros((len(G), 2)), G])
    return (*answers, *norms, loaded, G.T), 10 * np.linalg.cond(K)


# ---- in the process with plain Python ------------------------------------------------------------


def by_lanes(count, coupled, Q, G, A, weight, x, z, right):
    """The same by `company`; a lane's error breaks the barrier for all."""
    from qpcore.kernels import company
    from qpcore.kernels.machine import OPERATIONS, Operations

    crew = namedtuple("Crew", "lane width")
    meeting = threading.Barrier(count)
    OPERATIONS[crew] = Operations(lambda team: meeting.wait(20), None, None)
    n, m, size = len(Q), len(G), len(right)
    K, diagonal = np.triu(kkt(Q, A), 1), np.diag(kkt(Q, A)).copy()
    Qd, Gt, At, v = np.diag(Q).copy(), G.T.copy(), K[:n, n:], right.copy()
    Qx, Gz, Ax, *norms = (np.full(k, np.nan) for k in (n, n, len(A), n, len(A), m))
    qp = namedtuple("QP", "K Q_diagonal q Gt At b")(K, Qd, np.zeros(n), Gt, At, np.zeros(len(A)))
    loaded, turned = np.zeros((m, n + 2)), np.zeros((n, m))
    scale = namedtuple("Scale", "per_x per_y per_rows")(*norms)

    def work(lane):
        try:
            every_routine(crew(lane, count))
        except BaseException:
            meeting.abort()
            raise

    def every_routine(team):
        company.load_elements(loaded, 2, False, G[None], [0], 0, team)
        company.load_elements(turned, 0, True, G[None], [0], 0, team)
        company.largest_entries(qp, scale, team)
        company.factor(K, diagonal, Gt, len(G), weight, size, coupled, 1e-12, team)
        company.solve_factored(K, diagonal, n, coupled, v, team)
        company.multiply_symmetric(Qx, K, Qd, coupled, x, team)
        company.multiply(Gz, Gt, z, team)
        company.multiply_transposed(Ax, At, x, team)

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return v, Qx, Gz, Ax, *norms, loaded, turned


if __name__ == "__main__":
    lanes, coupled, posed = pickle.loads(sys.stdin.buffer.read())
    found = [by_lanes(lanes, coupled, *given) for given in posed]
    sys.stdout.buffer.write(pickle.dumps(found))

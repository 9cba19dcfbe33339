"""Gradients of qpcore and of the oracle, ready to be compared."""

from dataclasses import replace

import numpy as np
from oracle import CORE, Point, adjoint, batch_shape
from problems import known

from qpcore import Settings, vjp

# The error of a gradient is proportional to mu at the answer: at tol 1e-8, 900 problems of these
# forms had a median error of 3e-8 and a largest one of 3e-4. Hence a tighter tolerance and less
# spread of Q's eigenvalues: 2.6e-10 and 7e-7.
TIGHT = Settings(tol=1e-10)
CONDITION = 2.0
RTOL = 1e-6
COTANGENTS = {"x": "dx", "z": "dz", "y": "dy", "z_box": "dz_box"}


def random_cotangent(answer, seed=0):
    """Cotangent for every output, shaped like the outputs."""
    rng = np.random.default_rng(seed)
    return Point(*(rng.standard_normal(part.shape) for part in answer))


def pulled(solution, cotangent, outputs=Point._fields):
    """Gradients of qpcore for some of the outputs, the others' cotangents being None."""
    return vjp(solution, **{COTANGENTS[name]: getattr(cotangent, name) for name in outputs})


def assert_close(found, expected, name, rtol=RTOL):
    """Largest error, relative to the largest entry, or to 1, the size of the cotangents."""
    assert found.shape == expected.shape, f"d{name} has shape {found.shape}"
    error = np.abs(found - expected).max(initial=0)
    bound = rtol * max(np.abs(expected).max(initial=0), 1.0)
    assert error <= bound, f"d{name} off by {error:.1e} > {bound:.1e}"


def drawn(form, seed, batch=()):
    """Batch of well-conditioned problems of a form."""
    return known(replace(form, condition=CONDITION), seed, batch)


def oracle_gradients(problems, cotangent):
    """Gradients by the oracle's adjoint, summed over the axes along which arguments are shared."""
    batch = batch_shape(problems.data)
    each = {k: np.zeros(batch + np.shape(v)[-CORE[k] :]) for k, v in problems.data.items()}
    for index, data, answer, active in problems:
        for name, gradient in adjoint(data, answer, active, at(cotangent, index)).items():
            if name in each:
                each[name][index] = gradient
    return {name: summed(value, np.shape(problems.data[name])) for name, value in each.items()}


def at(point, index):
    return Point(*(part[index] for part in point))


def summed(value, shape):
    """Sum over the axes that broadcasting from ``shape`` added or widened."""
    value = value.sum(axis=tuple(range(value.ndim - len(shape))))
    widened = tuple(i for i, size in enumerate(shape) if size == 1 and value.shape[i] != 1)
    return value.sum(axis=widened, keepdims=True)

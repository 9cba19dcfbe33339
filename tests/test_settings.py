"""Settings, statuses and errors: what they refuse, what they mean, how they travel."""

import os
import pickle
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction

import numpy as np
import pytest

import qpcore
from qpcore import ProblemError, QPError, Settings, SettingsError, SolveError, Status


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tol": 1e-3},
        {"tol": 1},
        {"tol": np.float32(1e-4)},
        {"tol": Fraction(1, 1000)},
        {"max_iterations": 1},
        {"max_iterations": np.int64(7)},
        {"threads": 3},
        {"trace": True},
        {"trace": np.bool_(True)},
    ],
)
def test_accepted(fields):
    settings = Settings(**fields)
    assert all(getattr(settings, name) == value for name, value in fields.items())


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("tol", 0.0, "number > 0"),
        ("tol", -1e-8, "number > 0"),
        ("tol", float("nan"), "number > 0"),
        ("tol", float("inf"), "number > 0"),
        ("tol", "1e-8", "number > 0"),
        ("tol", True, "number > 0"),
        ("tol", 1j, "number > 0"),
        ("tol", np.array([1e-8]), "number > 0"),
        ("max_iterations", 0, "integer >= 1"),
        ("max_iterations", -1, "integer >= 1"),
        ("max_iterations", 10.0, "integer >= 1"),
        ("max_iterations", None, "integer >= 1"),
        ("max_iterations", True, "integer >= 1"),
        ("threads", 0, "integer >= 1"),
        ("threads", 1.5, "integer >= 1"),
        ("threads", "2", "integer >= 1"),
        ("trace", 1, "True or False"),
        ("trace", None, "True or False"),
        ("trace", "yes", "True or False"),
    ],
)
def test_refused_with_field_value_and_expectation(field, value, expected):
    with pytest.raises(SettingsError) as caught:
        Settings(**{field: value})
    assert f"{field} is {value!r}" in str(caught.value)
    assert type(value).__name__ in str(caught.value)
    assert expected in str(caught.value)


def test_frozen_comparable_and_hashable():
    settings = Settings(tol=1e-6)
    with pytest.raises(FrozenInstanceError):
        settings.tol = 1.0
    assert replace(settings, threads=2) == Settings(tol=1e-6, threads=2)
    assert hash(settings) == hash(Settings(tol=1e-6))


def test_changes_are_validated_too():
    with pytest.raises(SettingsError, match="max_iterations"):
        replace(Settings(), max_iterations=0)


@pytest.mark.parametrize(
    ("tol", "dtype", "expected"),
    [
        (None, np.float64, 1e-8),
        (None, np.float32, 1e-5),
        (None, "float32", 1e-5),
        (None, np.dtype(np.float64), 1e-8),
        (1e-3, np.float64, 1e-3),
        (Fraction(1, 2), np.float32, 0.5),
    ],
)
def test_tolerance(tol, dtype, expected):
    tolerance = Settings(tol=tol).tolerance(dtype)
    assert tolerance == expected
    assert type(tolerance) is float


@pytest.mark.parametrize("dtype", [np.float16, int, complex])
def test_tolerance_of_another_dtype(dtype):
    with pytest.raises(SettingsError, match="expected float64 or float32"):
        Settings().tolerance(dtype)


@pytest.mark.parametrize(
    ("threads", "variable", "expected"),
    [(3, None, 3), (3, "5", 3), (None, "5", 5), (None, " 2 ", 2), (np.int32(4), "no", 4)],
)
def test_thread_count(monkeypatch, threads, variable, expected):
    monkeypatch.delenv("QPCORE_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("QPCORE_NUM_THREADS", variable)
    count = Settings(threads=threads).thread_count()
    assert count == expected
    assert type(count) is int


@pytest.mark.parametrize("variable", [None, "", "  "])
def test_thread_count_by_default_is_what_this_process_may_use(monkeypatch, variable):
    monkeypatch.delenv("QPCORE_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("QPCORE_NUM_THREADS", variable)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4, 6}, raising=False)
    assert Settings().thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert Settings().thread_count() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert Settings().thread_count() == 1


@pytest.mark.parametrize("variable", ["0", "-1", "two", "1.5", "²"])
def test_bad_environment_is_found_at_use(monkeypatch, variable):
    monkeypatch.setenv("QPCORE_NUM_THREADS", variable)
    settings = Settings()
    with pytest.raises(SettingsError, match="QPCORE_NUM_THREADS") as caught:
        settings.thread_count()
    assert repr(variable) in str(caught.value)


# ---- statuses and errors -------------------------------------------------------------------------


def test_status_numbers_are_fixed():
    assert [(status.name, int(status)) for status in Status] == [
        ("SOLVED", 0),
        ("MAX_ITERATIONS", 1),
        ("PRIMAL_INFEASIBLE", 2),
        ("DUAL_INFEASIBLE", 3),
        ("NOT_CONVEX", 4),
        ("NUMERICAL_ERROR", 5),
        ("NONFINITE_INPUT", 6),
    ]


@pytest.mark.parametrize("status", Status)
def test_every_status_has_a_remedy_of_one_sentence(status):
    assert status.remedy.endswith(".")
    assert ". " not in status.remedy


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(ProblemError, ValueError), (SettingsError, ValueError), (SolveError, RuntimeError)],
)
def test_errors_are_qp_errors_and_builtin_ones(error, builtin):
    assert issubclass(error, QPError)
    assert issubclass(error, builtin)


def test_solve_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(SolveError("message", solution=None)))
    assert (str(error), error.solution) == ("message", None)


def test_public_names_exist():
    assert all(hasattr(qpcore, name) for name in qpcore.__all__)

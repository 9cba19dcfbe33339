"""Derivatives without the rows that do not bind: the same, and all rows where that was wrong."""

from dataclasses import replace

import numpy as np
import pytest
from oracle import Point
from problems import Form, neighbours
from pullback import TIGHT, assert_close, drawn, oracle_gradients, pulled, random_cotangent

from qpcore import Settings, cpu, rooms, solve, vjp
from qpcore.kernels.sift import LEAST_SIFTED

FORMS = [
    Form(5, 40),
    Form(12, 45, 3, rows="both", box="both"),
    Form(9, 40, 2, rows="mixed", box="mixed", fixed=2),
    Form(12, 43, rows="lower", rank=0),
    Form(cpu.MOST_IN_PACKS + 2, 40, rows="mixed", box="lower"),
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_gradients_are_those_of_the_whole_problem(form):
    assert form.m >= LEAST_SIFTED
    problems = drawn(form, 150, (3 if form.n > cpu.MOST_IN_PACKS else 11,))
    cotangent = random_cotangent(problems.answer)
    gradients = pulled(solve(**problems.data, settings=TIGHT), cotangent)
    assert gradients.trust.trusted.all()
    for name, expected in oracle_gradients(problems, cotangent).items():
        assert_close(getattr(gradients, name), expected, name)


@pytest.mark.parametrize("name", ["Q", "G", "h", "A"])
def test_arguments_that_the_batch_shares(name):
    problems = neighbours(drawn(FORMS[1], 151), name, 11)
    cotangent = random_cotangent(problems.answer)
    gradients = pulled(solve(**problems.data, settings=TIGHT), cotangent)
    for argument, expected in oracle_gradients(problems, cotangent).items():
        assert_close(getattr(gradients, argument), expected, argument)


def test_rows_that_do_not_bind_get_nothing():
    problems = drawn(FORMS[1], 152, (9,))
    gradients = pulled(solve(**problems.data), random_cotangent(problems.answer))
    free = problems.active.rows == 0
    assert free.any()
    assert not free.all()
    for name in ("G", "h", "h_lower"):
        assert (np.abs(getattr(gradients, name)[free]) < 1e-20).all(), name
    assert (np.abs(gradients.h + gradients.h_lower)[~free] > 0).all()


def one_row_binds(count=8):
    """x = v projected on x₀ ≤ 1, and the other rows are far away: x = (1, ...), z = 0.02 in row 0.

    Row 1 holds x₁ down with a multiplier of one.
    """
    rows = np.zeros((LEAST_SIFTED, 3))
    rows[0, 0], rows[1, 1], rows[2:, 2] = 1, 1, np.linspace(1, 2, LEAST_SIFTED - 2)
    v = np.tile([1.02, 1.5, 0.3], (count, 1))
    G = np.tile(rows, (count, 1, 1))
    return {"Q": np.eye(3), "q": -v, "G": G, "h": np.r_[1, 0.5, np.full(LEAST_SIFTED - 2, 9.0)]}


def with_answer_inside(solution, index):
    """Move an answer inside the limit of row 0, as a loose tolerance might: x₀ = 0.99, z₀ tiny."""
    x, z = solution.x.copy(), solution.z.copy()
    x[index, 0], z[index, 0] = 0.99, 1e-6
    return replace(solution, x=x, z=z)


def test_a_row_that_was_left_out_wrongly_is_found():
    solution = solve(**one_row_binds())
    expected = vjp(solution, dx=np.ones((8, 3)))
    assert (np.abs(expected.q[:, 0]) < 1e-12).all()
    found = vjp(with_answer_inside(solution, 3), dx=np.ones((8, 3)))
    assert_close(found.q, expected.q, "q", rtol=1e-12)
    assert_close(found.h, expected.h, "h", rtol=1e-12)
    # A step that long leaves so much of the error of z, see ROUGH.
    assert_close(found.G, expected.G, "G", rtol=1e-8)


def test_neighbours_keep_their_bits_where_a_problem_is_differentiated_again():
    solution, dx = solve(**one_row_binds()), np.ones((8, 3))
    expected, found = (vjp(s, dx=dx) for s in (solution, with_answer_inside(solution, 3)))
    others = np.arange(8) != 3
    for name in ("q", "G"):
        np.testing.assert_array_equal(getattr(found, name)[others], getattr(expected, name)[others])
    np.testing.assert_array_equal(found.trust.error[others], expected.trust.error[others])


def test_bits_do_not_depend_on_how_many_rows_the_neighbours_keep():
    """A slot with fewer rows than its neighbours is filled up with zeros."""
    problems = drawn(Form(12, 45, 2, box="mixed"), 153, (8,))
    free = {"h": problems.data["h"][0] + 100.0}
    alone = {name: np.stack([value[0]] * 8) for name, value in problems.data.items()}
    beside = {name: value.copy() for name, value in problems.data.items()}
    alone["h"][:], beside["h"][0] = free["h"], free["h"]
    kept = [solve(**data) for data in (alone, beside)]
    assert (kept[0].z == 0).all() or np.abs(kept[0].z).max() < 1e-6
    assert np.abs(kept[1].z[1:]).max() > 1e-2
    first, second = (vjp(solution, *random_cotangent(problems.answer)) for solution in kept)
    for name in ("Q", "q", "G", "A", "b"):
        np.testing.assert_array_equal(getattr(first, name)[0], getattr(second, name)[0])


@pytest.mark.parametrize("slack", [1e-1, 1e-2])
def test_the_margin_sees_rows_that_were_left_out(slack):
    """The last row is free by so much, where |Gx| and limits are nine at most."""
    data = one_row_binds(9)
    data["h"][-1] = 2 * (0.3 + slack)  # the norm of that row is two
    trust = vjp(solve(**data), dx=np.ones((9, 3))).trust
    assert trust.trusted.all()
    assert ((slack / 9 < 1.5 * trust.margin) & (trust.margin < 1.5 * slack)).all()


def test_large_gradients_do_not_depend_on_where_their_lines_begin():
    """Matrices written past the cache: rows of 33 numbers begin anywhere in a line of it."""
    problems = drawn(Form(33, 45), 154, (2,))
    data = {name: np.tile(v, (300, *[1] * (v.ndim - 1))) for name, v in problems.data.items()}
    count = len(data["q"])
    assert count * 33 * 33 * 8 >= rooms.LEAST_PAST_CACHE
    cotangent = random_cotangent(problems.answer)
    few = pulled(solve(**problems.data, settings=Settings()), cotangent)
    many = pulled(solve(**data), Point(*(np.tile(part, (300, 1)) for part in cotangent)))
    for name in ("Q", "G"):
        for i in (0, 1, count - 2, count - 1):
            np.testing.assert_allclose(
                getattr(many, name)[i], getattr(few, name)[i % 2], rtol=1e-14, atol=1e-15
            )
        np.testing.assert_array_equal(getattr(many, name)[2], getattr(many, name)[0])

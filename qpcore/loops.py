"""The CPU's compiled loops: groups of problems are brought in, worked on, and handed out."""

from qpcore.compilation import compiled
from qpcore.kernels.active_set import solve_active_set
from qpcore.kernels.adjoint import differentiate, store_derivative
from qpcore.kernels.certificate import ACTIVE_SET, MINIMUM
from qpcore.kernels.doubt import doubt
from qpcore.kernels.dual import solve_dual
from qpcore.kernels.exact import measure
from qpcore.kernels.ipm import solve_problem
from qpcore.kernels.kept import load_kept, load_kept_cotangents, sizes_of_kept, store_kept
from qpcore.kernels.machine import team_of_one
from qpcore.kernels.outer import (
    add_outer_products,
    add_outer_products_past_cache,
    wait_for_stores,
)
from qpcore.kernels.packed import as_elements, slots_in
from qpcore.kernels.relax import relax
from qpcore.kernels.sift import sift
from qpcore.kernels.transfer import (
    load,
    load_cotangents,
    load_point,
    load_progress,
    load_solved,
    store,
)
from qpcore.kernels.workspace import (
    carve,
    carve_dual,
)


@compiled
def solve_range(data, result, memory, sizes, parameters, start, stop):
    """Solve the problems of a range of groups, as many in a group as the memory has slots."""
    team, slots = team_of_one(), slots_in(memory)
    packs = as_elements(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    for group in range(start, stop):
        # The search for a ray changes the matrices, which are then loaded again.
        again = group > start and parameters.sought == MINIMUM
        load(work, data, sizes, group * slots, slots, again, team)
        load_progress(work, result, group * slots, slots, team)
        solve_problem(work, parameters, sizes, team)
        if parameters.sought == MINIMUM:
            doubt(work, parameters.clear, sizes, team)
        store(result, work, parameters.sought, sizes, group * slots, slots, team)


@compiled
def solve_active_sets(data, result, memory, sizes, parameters, start, stop):
    """Take the problems of a range of groups from where they are to the answer."""
    team, slots = team_of_one(), slots_in(memory)
    packs = as_elements(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    for group in range(start, stop):
        load(work, data, sizes, group * slots, slots, group > start, team)
        load_progress(work, result, group * slots, slots, team)
        if parameters.sought == ACTIVE_SET:
            load_point(work.at, result, sizes, group * slots, slots, team)
        solve_active_set(work, parameters, sizes, team)
        doubt(work, parameters.clear, sizes, team)
        store(result, work, MINIMUM, sizes, group * slots, slots, team)


@compiled
def solve_duals(data, result, memory, sizes, parameters, start, stop):
    """Solve the problems of a range of groups in the dual form."""
    team, slots = team_of_one(), slots_in(memory)
    packs = as_elements(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    work, dual = carve_dual(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    for group in range(start, stop):
        load(work, data, sizes, group * slots, slots, group > start, team)
        load_progress(work, result, group * slots, slots, team)
        solve_dual(work, dual, parameters, sizes, team)
        doubt(work, parameters.clear, sizes, team)
        store(result, work, MINIMUM, sizes, group * slots, slots, team)


@compiled
def differentiate_range(data, answer, cotangents, derivative, memory, sizes, rules, start, stop):
    """Solve the adjoint systems of a range of groups."""
    team, slots = team_of_one(), slots_in(memory)
    packs = as_elements(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    for group in range(start, stop):
        load_solved(work, data, sizes, group * slots, slots, group > start, team)
        load_cotangents(work, answer, cotangents, sizes, group * slots, slots, team)
        differentiate(work, rules, sizes, team)
        store_derivative(derivative, work, sizes, group * slots, slots, team)


@compiled
def differentiate_sifted(
    data, answer, cotangents, derivative, memory, kept, sizes, rules, start, stop
):
    """The same without rows of G that do not bind; where that was wrong, again with all of them."""
    team, slots = team_of_one(), slots_in(memory)
    packs = as_elements(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    for group in range(start, stop):
        first, pending, attempt = group * slots, True, 0
        kept.pending[:] = True
        while pending:
            most = sift(kept, data, answer, sizes, first, slots, attempt > 0, team)
            some = sizes_of_kept(sizes, most)
            work = carve(packs, some.n, some.m, some.p, some.rows)
            load_kept(work, data, kept, some, first, slots, team)
            load_kept_cotangents(work, answer, cotangents, kept, some, first, slots, team)
            differentiate(work, rules, some, team)
            pending = store_kept(derivative, answer, work, data, kept, some, first, slots, team)
            attempt += 1


@compiled
def relax_range(data, result, memory, sizes, parameters, mu, close, start, stop):
    """Take the problems of a range of groups to their points of the central path."""
    team, slots = team_of_one(), slots_in(memory)
    packs = as_elements(memory)  # pyright: ignore[reportCallIssue]  a Numba intrinsic
    work = carve(packs, sizes.n, sizes.m, sizes.p, sizes.rows)
    for group in range(start, stop):
        load(work, data, sizes, group * slots, slots, group > start, team)
        load_progress(work, result, group * slots, slots, team)
        relax(work, mu, close, parameters, sizes, team)
        store(result, work, parameters.sought, sizes, group * slots, slots, team)


@compiled
def outer_products(out, a, b, c, d, shift, past, start, stop):
    """Gradients of a matrix in the problems start..stop."""
    for k in range(start, stop):
        if past:
            add_outer_products_past_cache(out, a, b, c, d, k, shift)
        else:
            add_outer_products(out, a, b, c, d, k)
    if past:
        wait_for_stores()  # pyright: ignore[reportCallIssue]


@compiled
def measure_range(data, answer, places, out, room, start, stop):
    """Measure the answers of problems at places[start..stop], exactly, into rows of `out`."""
    for k in range(start, stop):
        measures = measure(data, answer, room, places[k])
        for i in range(len(measures)):
            out[k, i] = measures[i]

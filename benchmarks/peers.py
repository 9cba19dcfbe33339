"""The solvers that are timed, each behind the same small interface.

Every solver is asked for 1e-8 where it takes a tolerance, and gets the problems in the memory
layout it likes best, before the clock starts. Packages are imported when a peer is used, so that
absent ones harm nobody.
"""

from __future__ import annotations

from benchmarks.batches import Moreau, ProxsuiteBatch, Qpax, Qpcore, QpcoreMixed
from benchmarks.forked import Forked
from benchmarks.interface import Peer, cpus
from benchmarks.layers import Cvxpylayers, QPLayer, Qpth, TorchBridge
from benchmarks.loops import Daqp, Piqp, Quadprog
from benchmarks.robustness import dense, sparse
from benchmarks.singles import Scipy, Single

OURS = ("qpcore-1", "qpcore", "qpcore-mixed-1", "qpcore-mixed", "torch_bridge-1", "torch_bridge")


def table(cores: int) -> dict[str, Peer]:
    """Every peer by name, on one core or on all of them."""
    peers = (
        Qpcore("qpcore-1"),
        Qpcore("qpcore", threads=cores),
        QpcoreMixed("qpcore-mixed-1"),
        QpcoreMixed("qpcore-mixed", threads=cores),
        TorchBridge("torch_bridge-1"),
        TorchBridge("torch_bridge", threads=cores),
        Qpth("qpth-1", against="torch_bridge-1"),
        Qpth("qpth", threads=cores, pools=cores, against="torch_bridge"),
        Piqp("piqp", against="qpcore-1"),
        Forked(Piqp("piqp"), "piqp-forked", threads=cores, against="qpcore"),
        Daqp("daqp", against="qpcore-1"),
        Forked(Daqp("daqp"), "daqp-forked", threads=cores, against="qpcore"),
        Quadprog("quadprog", against="qpcore-1"),
        Single(dense.Proxqp(), "proxsuite", against="qpcore-1"),
        ProxsuiteBatch("proxsuite-batch", threads=cores, pools=cores, against="qpcore"),
        QPLayer("qplayer", against="torch_bridge-1"),
        Single(sparse.Osqp(), "osqp", against="qpcore-1"),
        Single(sparse.Clarabel(), "clarabel", against="qpcore-1"),
        Single(sparse.Highs(), "highs", against="qpcore-1"),
        Qpax("qpax", threads=cores, pools=cores, against="qpcore"),
        Moreau("active_set", "moreau-1", threads=1, against="qpcore-1"),
        Moreau("active_set", "moreau", threads=cores, against="qpcore"),
        Moreau("ipm", "moreau-ipm", threads=cores, against="qpcore"),
        Cvxpylayers("cvxpylayers", threads=cores, against="torch_bridge"),
        Scipy("SLSQP", "slsqp", against="qpcore-1"),
        Scipy("trust-constr", "trust-constr", against="qpcore-1"),
    )
    return {peer.name: peer for peer in peers}


PEERS = table(cpus())

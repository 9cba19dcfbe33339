"""Fixtures of the tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real and nasty problems that lies beside a checkout of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the problem collection in ../shared/data, absent here")
    return folder


@pytest.fixture
def one_torch_thread():
    """Small tensors gain nothing from torch's threads, which spin on the cores of qpcore's."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install qpcore[torch]")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""What the server does before anybody comes: on a server of its own, asked from outside."""

import sys
import time

import psutil
import pytest

from tests.processes import wait_for
from tests.server import Server


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at a process's mapped files")
def test_torch_is_loaded_before_the_first_visitor_comes(tmp_path):
    server = Server(tmp_path / "log").wait()
    try:
        process = psutil.Process(server.process.pid)
        wait_for(lambda: any("libtorch" in each.path for each in process.memory_maps()), 60, every=0.2)
    finally:
        began = time.perf_counter()
        server.stop()
    assert time.perf_counter() - began < 10
    assert "Traceback" not in server.log.read_text()

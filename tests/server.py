"""The app as a user starts it, in a process and on a port of its own: for browser tests and the load test."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def free_port():
    """A TCP port that nobody listens on now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Server:
    """A Streamlit server of `script`, which writes to the file `log`; `environment` is added to this process's."""

    def __init__(self, log, script=ROOT / "streamlit_app.py", **environment):
        self.port, self.log, self.started = free_port(), log, time.perf_counter()
        command = [sys.executable, "-m", "streamlit", "run", str(script)]
        options = ["--server.port", str(self.port), "--server.headless", "true", "--server.address", "127.0.0.1"]
        self.url = f"http://127.0.0.1:{self.port}/"
        with log.open("w") as output:
            streams = {"stdout": output, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(command + options, cwd=ROOT, env={**os.environ, **environment}, **streams)

    def wait(self, seconds=60):
        """Until it answers; RuntimeError with its log where it has not after `seconds` or has ended."""
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.url + "_stcore/health", timeout=1).read()
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"the app did not start:\n{self.log.read_text()}")

    def stop(self):
        """End it; what it started ends by itself."""
        self.process.terminate()
        self.process.wait(20)

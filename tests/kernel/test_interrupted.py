"""An interrupted command gives a message without the key, in every traceback mode."""

from __future__ import annotations

import json
import socket

from tests.conftest import KEY, clean_environment
from tests.kernel.kernels import start_kernel


def test_interrupted_command(tmp_path):
    """If RunAPI does not respond, an interrupt ends the command with a line without the key."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = clean_environment(tmp_path, RUNAPI_BASE_URL=url, RUNAPI_API_KEY=KEY)
        first = ("%load_ext runapi_magic", "%xmode Verbose")
        with start_kernel(tmp_path, environment, *first) as kernel:
            cell = kernel.start("%runapi balance")
            connection, _ = silent.accept()
            with connection:
                connection.recv(65536)
                kernel.interrupt()
                kernel.wait(lambda: cell.is_done)
            # The same call without the command, so that its error is shown as a traceback.
            call = "await open_session().service().client.balance()"
            bare = kernel.start(f"from runapi_magic.notebook.api import open_session\n{call}")
            connection, _ = silent.accept()
            with connection:
                connection.recv(65536)
                kernel.interrupt()
                kernel.client.kernel_info()  # wakes the kernel's loop
                kernel.wait(lambda: bare.is_done)
            assert KEY not in json.dumps(kernel.received)
    assert "Stopped asking. Nothing was charged." in cell.text
    assert "Traceback" not in cell.text
    assert "CancelledError" in bare.text

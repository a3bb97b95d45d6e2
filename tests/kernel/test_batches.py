"""Batches of prompts and of a data frame's rows, in a kernel and in a terminal."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import KEY, ROOT, clean_environment
from tests.kernel.kernels import NOT_SENT, error_message


def test_data_frame_in_the_cell_that_imports_pandas(kernel, server):
    """``df.gpt_image`` works in the cell that imports pandas. A later cell awaits the batch."""
    kernel.run_ok(
        "import pandas as pd\n"
        "df = pd.DataFrame({'colour': ['red', 'blue'], 'ratio': ['1:1', '3:2']})\n"
        "made = df.gpt_image.generate(prompt='A {colour} hill', aspect_ratio='{ratio}')"
    )
    assert kernel.value("(await made) is made") is True
    assert kernel.value("[i.prompt for i in made.images]") == ["A red hill", "A blue hill"]
    assert kernel.value("list(made.to_frame()['status'])") == ["completed"] * 2
    assert sorted(body["aspect_ratio"] for body in server.bodies("A ")) == ["1:1", "3:2"]


def test_batch_runs_while_other_cells_run(kernel, server):
    """``generate_many`` returns at once, other cells run, and ``%runapi batches`` lists it."""
    server.fault("status=stuck,match=in a batch")
    kernel.run_ok(
        "from runapi_magic import generate_many\n"
        "many = generate_many(['a hill in a batch', 'a tree in a batch'], title='hills')"
    )
    kernel.wait(lambda: len(server.bodies("in a batch")) == 2)
    assert kernel.value("many.is_done") is False
    server.clear_faults()
    assert kernel.value("len((await many).images)") == 2
    batch = kernel.value("many.id")
    (line,) = [line for line in kernel.run_ok("%runapi batches").text.splitlines() if batch in line]
    assert line.split(maxsplit=3)[3].split() == ["2", "requests", "hills"]


def test_progress_bar_in_live_cells_only(kernel, server):
    """A live cell shows the progress of its batch. A cell of an unattended run shows none."""
    kernel.run_ok("from runapi_magic import generate_many")
    live = kernel.run_ok("bar = generate_many(['a hill with a bar'])")
    assert "a hill with a bar" in live.text
    unattended = kernel.run_ok("bar = generate_many(['a hill without a bar'])", live=False)
    assert unattended.outputs == []
    assert kernel.value("len((await bar).images)") == 1


def test_batch_without_any_image(kernel, server):
    """``await`` of a batch in which all items failed shows the reason without a traceback."""
    server.fault("create=422,match=that nobody takes,message=not this one")
    kernel.run_ok(
        "from runapi_magic import generate_many\n"
        "lost = generate_many(['a hill that nobody takes', 'a tree that nobody takes'])"
    )
    waiting = kernel.run("await lost")
    assert "not this one" in error_message(waiting)
    assert "Not charged." in waiting.text
    assert kernel.value("[item.status for item in lost.items]") == ["failed"] * 2


def test_interrupt_of_an_awaited_batch(kernel, server):
    """An interrupt stops waiting with a message. The batch continues and can be awaited again."""
    server.fault("status=stuck,match=in a long batch")
    kernel.run_ok(
        "from runapi_magic import generate_many\n"
        "long = generate_many(['a hill in a long batch', 'a tree in a long batch'])"
    )
    waiting = kernel.start("print('waiting', flush=True)\nawait long")
    kernel.wait(lambda: len(server.bodies("in a long batch")) == 2 and "waiting" in waiting.text)
    kernel.interrupt()
    kernel.wait(lambda: waiting.is_done)
    assert "Stopped waiting for the batch" in error_message(waiting)
    server.clear_faults()
    assert kernel.value("len((await long).images)") == 2


def test_row_with_a_wrong_value(kernel, server):
    """An error in a row names the row's number, without a traceback, and nothing is sent."""
    message = error_message(
        kernel.run(
            "from runapi_magic import generate_many\n"
            "generate_many([{'r': '1:1'}, {'r': '7:5'}], prompt='a row', aspect_ratio='{r}')"
        )
    )
    assert "Row 1: " in message
    assert NOT_SENT in message
    assert server.bodies("a row") == []


_TERMINAL = """
get_ipython().run_line_magic('load_ext', 'runapi_magic')
from runapi_magic import generate_many
batch = generate_many(['a hill at a prompt', 'a tree at a prompt'])
print(len(batch.images), batch.cost)
get_ipython().run_line_magic('runapi', 'budget 0')
get_ipython().run_line_magic('gpt_image', '--dry-run -n 2 a dry hill at a prompt')
get_ipython().run_line_magic('gpt_image', '-n 3 a hill over budget at a prompt')
get_ipython().run_line_magic('gpt_image', '--max-cost 0 --sweep a=fox,owl a dear {a} at a prompt')
get_ipython().run_line_magic('runapi', 'balance')
"""


def test_in_a_terminal(tmp_path, server):
    """In terminal IPython a batch has a bar on stderr, and prices and budgets work as usual."""
    (tmp_path / "script.py").write_text(_TERMINAL)
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "script.py"],
        cwd=tmp_path,
        env=clean_environment(
            tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY, PYTHONPATH=str(ROOT)
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 0.12" in done.stdout
    assert "Budget of the session  $0.00" in done.stdout
    assert "2 images: $0.12 (quoted). Nothing was sent." in done.stdout
    error = "This costs $0.18, but the budget of the session is $0.00"
    assert done.stdout.count(error) == 1
    assert "2 images: $0.12 (quoted), and the maximum cost is $0.00." in done.stdout
    assert "fox" not in done.stdout
    assert "Spent here: this session $0.12" in done.stdout
    assert "a hill at a prompt: 100%" in done.stderr
    assert server.bodies("over budget at a prompt") == server.bodies("a dear") == []

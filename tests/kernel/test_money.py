"""Prices, limits, questions and batches, as somebody in front of a kernel meets them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import KEY, ROOT, clean_environment
from tests.kernel.kernels import start_kernel

NEWEST = """
from ipywidgets import Button
from ipywidgets.widgets.widget import _instances
from runapi_magic.widgets import placed

def newest(text):
    buttons = [w for w in _instances.values() if type(w) is Button]
    return [w for w in buttons if w.description.startswith(text)][-1]

def question():
    boxes = [w for w in _instances.values() if newest("Generate") in getattr(w, "children", ())]
    return boxes[-1]

def is_asked():
    box = question()
    is_there = any(box in one._root.children for one in placed._placed)
    return is_there and box.layout.display != "none"

def toolbars(count):
    made = [w for w in _instances.values() if "runapi-toolbar" in getattr(w, "_dom_classes", ())]
    return made[-count:]
"""
REFUSED = "Nothing was sent, nothing was charged."


@pytest.fixture
def asking(kernel):
    """Let the kernel ask from the third picture on, and clear every budget afterwards."""
    kernel.run_ok("%config RunAPIMagics.ask_above_count = 2")
    kernel.run_ok(NEWEST)
    yield kernel
    kernel.run_ok("%config RunAPIMagics.ask_above_count = 10")


@pytest.fixture
def thrifty(kernel):
    """Take all budgets away at the end."""
    yield kernel
    kernel.run_ok("%runapi budget off")


def posted(server):
    """The paths that were posted to so far, without those of prices."""
    asked = server.state()["requests"]
    return [r["path"] for r in asked if r["method"] == "POST" and "quotes" not in r["path"]]


def refusal(cell):
    """What a cell says that was refused: an error of several lines, without a traceback."""
    assert "Traceback" not in cell.text
    return cell.text


# The price before


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%gpt_image --dry-run a dry hill", "1 picture: $0.06 (quoted)"),
        ("%%gpt_image --dry-run -n 3 -r 2k\na dry hill", "3 pictures: $0.30 (quoted)"),
        ("%%gpt_image --dry-run -n 40\na dry hill", "40 pictures: $2.40 (quoted)"),
        ('%%gpt_image --dry-run --then "upscale 4"\na dry hill', "2 pictures: $0.26 (quoted)"),
        ("%%gpt_edit local.png --dry-run\na dry edit", "1 picture: $0.06 (quoted)"),
    ],
    ids=["line", "count", "many", "chain", "edit"],
)
def test_dry_run(workspace, server, cell, words, live):
    """``--dry-run`` says how many pictures and what they cost; nothing is asked or uploaded."""
    Image.new("RGB", (8, 6), "orange").save(workspace.folder / "local.png")
    before = posted(server)
    shown = workspace.kernel.run_ok(cell, live=live)
    workspace.kernel.wait(lambda: "Nothing was sent." in shown.text)
    assert f"{words}. Nothing was sent." in shown.text
    assert posted(server) == before


def test_dry_run_on_the_simulator_says_so(kernel):
    """Where the simulator in the kernel answers, the price is one that nobody pays."""
    kernel.run_ok("%runapi simulator on --speed 100")
    shown = kernel.run_ok("%gpt_image --dry-run a dry simulated hill", live=False)
    kernel.run_ok("%runapi simulator off")
    assert "$0.06 (quoted). Nothing was sent. Simulated: nothing is charged." in shown.text


def test_dry_run_of_what_is_on_disk(kernel, server):
    """A cell that was run costs nothing the second time, and ``--dry-run`` says that."""
    kernel.run_ok("%%gpt_image -n 2\na hill for a dry run", live=False)
    again = kernel.run_ok("%%gpt_image -n 3 --dry-run\na hill for a dry run", live=False)
    assert "3 pictures, 2 of them from disk or under way already: $0.06" in again.text
    afresh = kernel.run_ok("%%gpt_image -n 2 --new --dry-run\na hill for a dry run", live=False)
    assert "2 pictures: $0.12" in afresh.text


def test_dry_run_leaves_a_variable(kernel):
    """``--dry-run -o`` makes no picture, so the variable keeps the one that it has."""
    kernel.run_ok("held = 7\n%gpt_image --dry-run -o held a dry hill for a name", live=False)
    assert kernel.value("held") == 7


def test_dry_run_of_what_cannot_be_right(kernel, server):
    """A request that cannot be right is told in words, before any price is asked."""
    before = len(server.state()["requests"])
    said = refusal(kernel.run("%gpt_image --dry-run -a 7:5 a dry hill"))
    assert "7:5" in said
    assert REFUSED in said
    assert len(server.state()["requests"]) == before


@pytest.mark.parametrize("live", [True, False])
def test_max_cost(kernel, server, live):
    """``--max-cost`` refuses a cell in its own place, in three parts, and lets a cheap one pass."""
    cell = kernel.run(f"%%gpt_image -n 2 --max-cost 0.11\na hill too dear {live}", live=live)
    kernel.wait(lambda: "maximum cost" in cell.text)
    assert "2 pictures: $0.12 (quoted), and the maximum cost is $0.11." in refusal(cell)
    assert REFUSED in cell.text
    assert "allow a higher maximum cost" in cell.text
    assert server.bodies(f"too dear {live}") == []
    cheap = kernel.run(f"%%gpt_image -n 2 --max-cost 0.12\na hill not too dear {live}", live=live)
    assert len(kernel.wait_for_images(cheap, 2)) == 2


@pytest.mark.parametrize("amount", ["-1", "nan", "much"])
def test_max_cost_that_is_no_amount(kernel, server, amount):
    """An amount that is none is refused at once."""
    said = refusal(kernel.run(f"%gpt_image --max-cost={amount} a hill at no price"))
    assert "max-cost" in said
    assert REFUSED in said
    assert server.bodies("at no price") == []


# The question


def test_many_pictures_with_nobody_there(kernel, server):
    """More than ten pictures need ``--yes`` where nobody can click; with it they are made."""
    said = refusal(kernel.run("%%gpt_image -n 11 -q\na hill eleven times", live=False))
    assert "11 pictures: $0.66 (quoted)." in said
    assert REFUSED in said
    assert "Add --yes" in said
    assert server.bodies("eleven times") == []
    kernel.run_ok("%%gpt_image -n 11 -q --yes\na hill eleven times", live=False)
    assert len(server.bodies("eleven times")) == 11
    again = kernel.run_ok("%%gpt_image -n 11 -q -o free\na hill eleven times", live=False)
    assert "yes" not in again.text
    assert kernel.value("[len(free.images), free.cost]") == [11, 0.0]
    assert len(server.bodies("eleven times")) == 11


def test_dear_pictures_with_nobody_there(kernel, server):
    """Few pictures of more than one dollar need ``--yes`` as well."""
    said = refusal(kernel.run("%%gpt_image -n 7 -r 4k -a 3:2\na dear hill", live=False))
    assert "7 pictures: $1.12 (quoted)." in said
    assert server.bodies("a dear hill") == []


@pytest.mark.versions
def test_a_click_on_generate(asking, server):
    """Somebody who is there is asked in the cell; nothing is sent before Generate is clicked."""
    cell = asking.run_ok("%%gpt_image -n 3 -o agreed\na hill to agree on")
    asking.wait(lambda: asking.value("is_asked()"))
    assert "3 pictures: $0.18 (quoted)" in asking.value("question().children[0].value")
    asking.wait(lambda: cell.text.strip() == "Waiting for your click above; nothing is sent before")
    assert asking.value("[bar.layout.display for bar in toolbars(3)]") == ["none"] * 3
    assert server.bodies("to agree on") == []
    asking.run_ok("newest('Generate').click()")
    assert len(asking.wait_for_images(cell, 3)) == 3
    assert asking.value("is_asked()") is False
    assert asking.value("[bar.layout.display for bar in toolbars(3)]") == [None] * 3
    assert len(server.bodies("to agree on")) == 3
    again = asking.run_ok("%%gpt_image -n 3\na hill to agree on")
    assert len(asking.wait_for_images(again, 3)) == 3
    assert asking.value("is_asked()") is False
    assert len(server.bodies("to agree on")) == 3


def test_a_click_on_cancel(asking, server):
    """Cancel sends nothing and says so; the same cell asks again."""
    cell = asking.run_ok("%%gpt_image -n 3 -o declined\na hill to decline")
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("question().children[2].click()")
    asking.wait(lambda: "declined" in cell.text)
    assert REFUSED in refusal(cell)
    assert "to be asked again" in cell.text
    assert asking.value("[declined.status, is_asked()]") == ["failed", False]
    assert server.bodies("to decline") == []
    asking.run_ok("%%gpt_image -n 3 -o declined\na hill to decline")
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("question().children[1].click()\nquestion().children[2].click()")
    assert asking.value("len((await declined).images)") == 3


SWEEP = "%%gpt_image -o {0} --sweep style=oil,ink,wax\na {{style}} hill to {0}"


def test_a_sweep_that_is_agreed_on(asking, server):
    """A sweep has no sheet before the click, and its failures need no second click."""
    server.fault("create=422,match=hill to agree,message=not today,times=3")
    cell = asking.run_ok(SWEEP.format("agree"))
    asking.wait(lambda: "Waiting for your click above" in cell.text)
    assert cell.images == []
    assert " s ·" not in cell.text
    asking.run_ok("newest('Generate').click()")
    asking.wait(lambda: "0 of 3 pictures, 3 failed" in cell.text)
    asking.wait_for_images(cell)
    asking.run_ok("agree.retry_failed()")
    asking.wait(lambda: "3 of 3 pictures" in cell.text)
    assert asking.value("is_asked()") is False


def test_a_sweep_that_is_declined(asking, server):
    """A sweep that is refused before anything is sent is one error: no sheet, nothing to retry."""
    cell = asking.run_ok(SWEEP.format("drop"))
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("question().children[2].click()")
    asking.wait(lambda: "declined" in cell.text)
    assert cell.text.strip().splitlines() == [
        "3 pictures: $0.18 (quoted): declined.",
        REFUSED,
        "Run the cell again to be asked again.",
    ]
    assert cell.images == []
    assert asking.value("newest('Retry failed').layout.display") == "none"
    assert server.bodies("hill to drop") == []


def test_yes_needs_no_click(asking, server):
    """``--yes`` shows no question, also where somebody is there."""
    cell = asking.run_ok("%%gpt_image -n 3 --yes\na hill that is paid for")
    assert len(asking.wait_for_images(cell, 3)) == 3


def test_cancelling_while_it_asks(asking, server):
    """``%runapi cancel`` takes the question away; nothing is sent by a later click."""
    asking.run_ok("%%gpt_image -n 3 -o asked\na hill that is asked about")
    asking.wait(lambda: asking.value("is_asked()"))
    asking.run_ok("%runapi cancel")
    asking.wait(lambda: asking.value("asked.status") == "cancelled")
    assert asking.value("is_asked()") is False
    asking.run_ok("newest('Generate').click()")
    assert server.bodies("asked about") == []


# A budget


def test_budget(thrifty, server):
    """A budget is shown, set for the session and the day, and taken away."""
    none = thrifty.run_ok("%runapi budget").text
    assert "There is no budget. Set one: %runapi budget 5 [--day]" in none
    assert "Budget of the session  $5.00" in thrifty.run_ok("%runapi budget 5").text
    both = thrifty.run_ok("%runapi budget --day $7.50").text
    assert "Budget of the session  $5.00\nBudget of the day  $7.50\nFrom here: " in both
    assert thrifty.run_ok("%runapi budget").text == both
    day = thrifty.run_ok("%runapi budget off --session").text
    assert "Budget of the day  $7.50" in day
    assert "of the session" not in day
    assert "There is no budget. Set one" in thrifty.run_ok("%runapi budget --day off").text
    thrifty.run_ok("%runapi budget 5")
    thrifty.run_ok("%runapi budget --day $7.50")
    assert thrifty.run_ok("%runapi budget off").text == "There is no budget any more.\n"
    assert thrifty.run_ok("%runapi budget").text == none


@pytest.mark.parametrize(
    "words",
    [
        "much",
        "-1",
        "nan",
        "inf",
        "1e999",
        "--day",
        "--day --session",
        "5 --week",
        "5 6",
        "on",
        "off --session --day",
    ],
)
def test_budget_that_is_none(thrifty, words):
    """What is no amount is refused in words and changes nothing."""
    before = thrifty.run_ok("%runapi budget").stream("stdout")
    said = refusal(thrifty.run(f"%runapi budget {words}"))
    assert said.startswith("UsageError: ")
    assert "%runapi budget 5" in said
    assert thrifty.run_ok("%runapi budget").stream("stdout") == before


@pytest.mark.parametrize("live", [True, False])
def test_a_cell_that_would_cross_the_budget(thrifty, server, live):
    """A cell over the budget is refused in its place, in three parts, and nothing is sent."""
    thrifty.run_ok("%runapi budget 0")
    cell = thrifty.run(f"%%gpt_image -o crossing\na hill over budget {live}", live=live)
    thrifty.wait(lambda: "the budget of the session is $0.00" in cell.text)
    assert "This costs $0.06" in refusal(cell)
    assert REFUSED in cell.text
    assert "%runapi budget USD --session" in cell.text
    assert server.bodies("over budget") == []


def test_a_button_that_would_cross_the_budget(thrifty, server):
    """A button under a picture keeps the budget too, and says why nothing came of it."""
    thrifty.run_ok(NEWEST)
    cell = thrifty.run_ok("%%gpt_image -o shown\na hill with a button")
    thrifty.wait_for_images(cell)
    thrifty.run_ok("_ = await shown\n%runapi budget 0")
    thrifty.wait(lambda: thrifty.value("newest('Again').disabled") is False)
    thrifty.run_ok("newest('Again').click()")
    thrifty.wait(
        lambda: thrifty.value(
            "any('budget of the session' in str(getattr(w, 'value', ''))"
            " for w in _instances.values())"
        )
    )
    assert len(server.bodies("with a button")) == 1


# The price after


def test_balance_and_history(kernel, server):
    """``balance`` has the account and what was spent from here; ``history --cost`` each picture."""
    kernel.run_ok("%%gpt_image -n 2 -r 2k\na hill in the books", live=False)
    cell = kernel.run_ok("%runapi balance", live=False)
    account, spent, here = cell.text.splitlines()[-3:]
    cents = server.state()["charged_cents"]
    assert account == f"Balance ${(100_000 - cents) / 100:.2f}"
    assert f"in total ${cents / 100:.2f}" in spent
    assert here.startswith("From here: this session $")
    assert f"in total ${cents / 100:.2f}" in here
    listed = kernel.run_ok("%runapi history --cost in the books").text
    lines = [line for line in listed.splitlines() if "a hill in the books" in line]
    assert ["$0.10" in line and "gpt-image-2" in line for line in lines] == [True, True]
    assert "From here: " in listed
    assert "older ones: --limit" in kernel.run_ok("%runapi history --cost --limit 1").text


def test_the_notebooks_own_spending(tmp_path, server):
    """Started for a notebook, a kernel knows what that notebook spent in earlier kernels."""
    environment = clean_environment(
        tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY, JPY_SESSION_NAME="work/a.ipynb"
    )
    for session in ("0.06", "0.00"):
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok("%gpt_image a hill of a notebook", live=False)
            said = kernel.run_ok("%runapi budget").text
        assert f"this session ${session}, this notebook $0.06, today $0.06" in said


# Batches


def test_a_frame_in_the_cell_that_imports_pandas(kernel, server):
    """``df.gpt_image`` is there in the very cell that imports pandas; ``await`` in a later one."""
    kernel.run_ok(
        "import pandas as pd\n"
        "df = pd.DataFrame({'colour': ['red', 'blue'], 'ratio': ['1:1', '3:2']})\n"
        "made = df.gpt_image.generate(prompt='A {colour} hill', aspect_ratio='{ratio}')"
    )
    assert kernel.value("(await made) is made") is True
    assert kernel.value("[i.prompt for i in made.pictures]") == ["A red hill", "A blue hill"]
    assert kernel.value("list(made.to_frame()['status'])") == ["completed"] * 2
    assert sorted(body["aspect_ratio"] for body in server.bodies("A ")) == ["1:1", "3:2"]


def test_a_batch_is_under_way_while_other_cells_run(kernel, server):
    """``generate_many`` returns at once; cells go on; each batch is listed with its id."""
    server.fault("status=stuck,match=in a batch")
    kernel.run_ok(
        "from runapi_magic import generate_many\n"
        "many = generate_many(['a hill in a batch', 'a tree in a batch'], title='hills')"
    )
    kernel.wait(lambda: len(server.bodies("in a batch")) == 2)
    assert kernel.value("many.is_done") is False
    server.clear_faults()
    assert kernel.value("len((await many).pictures)") == 2
    batch = kernel.value("many.id")
    (line,) = [line for line in kernel.run_ok("%runapi batches").text.splitlines() if batch in line]
    assert line.split(maxsplit=3)[3].split() == ["2", "requests", "hills"]


def test_a_bar_where_somebody_is(kernel, server):
    """A live cell shows the progress of its batch; one that nobody watches shows none."""
    kernel.run_ok("from runapi_magic import generate_many")
    live = kernel.run_ok("bar = generate_many(['a hill with a bar'])")
    assert "a hill with a bar" in live.text
    quiet = kernel.run_ok("bar = generate_many(['a hill without a bar'])", live=False)
    assert quiet.outputs == []
    assert kernel.value("len((await bar).pictures)") == 1


def test_a_batch_without_any_picture(kernel, server):
    """Awaiting a batch that came to nothing shows the reason in its parts, no traceback."""
    server.fault("create=422,match=that nobody takes,message=not this one")
    kernel.run_ok(
        "from runapi_magic import generate_many\n"
        "lost = generate_many(['a hill that nobody takes', 'a tree that nobody takes'])"
    )
    waiting = kernel.run("await lost")
    assert "not this one" in refusal(waiting)
    assert "Not charged." in waiting.text
    assert kernel.value("[item.status for item in lost.items]") == ["failed"] * 2


def test_interrupting_the_wait_for_a_batch(kernel, server):
    """The stop button ends the waiting in words; the batch goes on and can be awaited again."""
    server.fault("status=stuck,match=in a long batch")
    kernel.run_ok(
        "from runapi_magic import generate_many\n"
        "long = generate_many(['a hill in a long batch', 'a tree in a long batch'])"
    )
    waiting = kernel.start("print('waiting', flush=True)\nawait long")
    kernel.wait(lambda: len(server.bodies("in a long batch")) == 2 and "waiting" in waiting.text)
    kernel.interrupt()
    kernel.wait(lambda: waiting.is_done)
    assert "Stopped waiting for the batch" in refusal(waiting)
    server.clear_faults()
    assert kernel.value("len((await long).pictures)") == 2


def test_rows_that_cannot_be_right(kernel, server):
    """A mistake in a row is told by its number, without a traceback, and nothing is sent."""
    said = refusal(
        kernel.run(
            "from runapi_magic import generate_many\n"
            "generate_many([{'r': '1:1'}, {'r': '7:5'}], prompt='a row', aspect_ratio='{r}')"
        )
    )
    assert "Row 1: " in said
    assert REFUSED in said
    assert server.bodies("a row") == []


_TERMINAL = """
get_ipython().run_line_magic('load_ext', 'runapi_magic')
from runapi_magic import generate_many
batch = generate_many(['a hill at a prompt', 'a tree at a prompt'])
print(len(batch.pictures), batch.cost)
get_ipython().run_line_magic('runapi', 'budget 0')
get_ipython().run_line_magic('gpt_image', '--dry-run -n 2 a dry hill at a prompt')
get_ipython().run_line_magic('gpt_image', '-n 3 a hill over budget at a prompt')
get_ipython().run_line_magic('gpt_image', '--max-cost 0 --sweep a=fox,owl a dear {a} at a prompt')
get_ipython().run_line_magic('runapi', 'balance')
"""


def test_in_a_terminal(tmp_path, server):
    """In terminal IPython a batch shows a bar on stderr, and all the rest is as in a notebook."""
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
    assert "2 pictures: $0.12 (quoted). Nothing was sent." in done.stdout
    what = "This costs $0.18, and the budget of the session is $0.00: $0.12 are"
    assert done.stdout.count(what) == 1
    assert "2 pictures: $0.12 (quoted), and the maximum cost is $0.00." in done.stdout
    assert "fox" not in done.stdout
    assert "From here: this session $0.12" in done.stdout
    assert "a hill at a prompt: 100%" in done.stderr
    assert server.bodies("over budget at a prompt") == server.bodies("a dear") == []

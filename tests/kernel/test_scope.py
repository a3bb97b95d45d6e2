"""Magics in functions, and prompts that end in a question mark, in a kernel and a terminal."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import KEY, clean_environment
from tests.kernel.conftest import task_requests

CELL = """
city = 'Oslo'
def poster(city, shape):
    ship = %gpt_image -q -a {shape} A poster of {city}
    return ship

def maker(city):
    def make():
        made = %gpt_image -q A view of {city}?
        return made
    return make

works = [poster('Rome', '16:9'), maker('Lima')(), *[poster(c, '1:1') for c in ('Kiel', 'Pisa')]]
"""
SENT = ["A poster of Rome", "A view of Lima?", "A poster of Kiel", "A poster of Pisa"]


@pytest.mark.parametrize("live", [True, False], ids=["live", "unattended"])
def test_prompt_uses_the_functions_variables(kernel, server, live):
    """A prompt in a function uses the function's variables, not global ones of the same name."""
    before = len(task_requests(server))
    kernel.run_ok(CELL.replace("A ", f"{live} "), live=live)
    kernel.run_ok("[await work for work in works]")
    sent = [create["body"] for create in task_requests(server)[before:]]
    assert sorted(body["prompt"] for body in sent) == sorted(
        text.replace("A ", f"{live} ") for text in SENT
    )
    assert sorted(body.get("aspect_ratio", "") for body in sent) == ["", "16:9", "1:1", "1:1"]


def test_sources_in_functions(kernel, server):
    """In a function, edits, -i and --sweep use the function's variables."""
    kernel.run_ok("lead = %gpt_image -q a lead cat\npic = %gpt_image -q a wrong dog")
    kernel.run_ok("await lead\nawait pic")
    kernel.run_ok(
        "tones = ['wrong']\n"
        "def night(pic, tones):\n"
        "    edited = %gpt_edit -q pic make it dusk\n"
        "    again = %gpt_image -q -i {pic} in the style of this\n"
        "    swept = %gpt_image -q --yes --sweep tone={tones} a {tone} barn\n"
        "    return edited, again, swept\n"
        "made = night(lead, ['grey', 'pink'])"
    )
    kernel.run_ok("[await one for one in made]")
    assert kernel.value("[one.image.parent.prompt for one in made[:2]]") == ["a lead cat"] * 2
    shown = kernel.run_ok("def tell(pic):\n    %runapi show pic\ntell(lead)")
    assert "Prompt   a lead cat" in shown.text
    assert len(server.bodies("grey barn")) == len(server.bodies("pink barn")) == 1


def test_prompt_that_ends_in_a_question_mark(kernel, server):
    """A prompt that ends in a question mark is sent. A magic's name with one shows help."""
    kernel.run_ok("asked = None\nasked = %gpt_image -q why is this barn so blue?")
    kernel.run_ok("await asked")
    assert [body["prompt"] for body in server.bodies("so blue")] == ["why is this barn so blue?"]
    for question in ("%gpt_image?", "?%gpt_image", "%%gpt_image?"):
        before = len(task_requests(server))
        kernel.run_ok(question)
        assert len(task_requests(server)) == before


def test_next_cell_waits_first(kernel, server):
    """A cell waits for unfinished tasks first, even with a __future__ import at its start."""
    kernel.run_ok("def late():\n    made = %gpt_image -q a late barn\n    return made", live=False)
    kernel.run_ok("barn = late()", live=False)
    cell = kernel.run(
        "from __future__ import annotations\n\nready = barn.is_done\n1 / 0  # the fourth line",
        live=False,
    )
    assert "line 4" in cell.text
    assert "----> 4 1 / 0" in re.sub(r"\x1b\[[0-9;]*m", "", cell.text)
    assert kernel.value("ready")
    assert len(server.bodies("late barn")) == 1


def test_in_a_terminal(tmp_path, server):
    """In terminal IPython, variables of functions and question marks work as in a kernel."""
    code = (
        "town = 'Oslo'\n"
        "def view(town):\n"
        "    seen = %gpt_image -q what does {town} look like?\n"
        "    return seen\n"
        "print(view('Bergen').image.prompt)\n"
    )
    environment = clean_environment(tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY)
    (tmp_path / "script.ipy").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--ext=runapi_magic", "script.ipy"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout == "what does Bergen look like?\n"
    assert len(server.bodies("Bergen")) == 1

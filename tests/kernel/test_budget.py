"""Budgets of a session and of a day, and what was spent."""

from __future__ import annotations

import pytest

from tests.conftest import KEY, clean_environment
from tests.kernel.kernels import FIND_WIDGETS, NOT_SENT, error_message, start_kernel


@pytest.fixture(autouse=True)
def _no_budget(kernel):
    """Remove all budgets after a test."""
    yield
    kernel.run_ok("%runapi budget off")


def test_budget(kernel, server):
    """``%runapi budget`` sets, shows and removes the budgets of the session and of the day."""
    without = kernel.run_ok("%runapi budget").text
    assert "There is no budget. Set one: %runapi budget 5 [--day]" in without
    assert "Budget of the session  $5.00" in kernel.run_ok("%runapi budget 5").text
    both = kernel.run_ok("%runapi budget --day $7.50").text
    assert "Budget of the session  $5.00\nBudget of the day  $7.50\nSpent here: " in both
    assert kernel.run_ok("%runapi budget").text == both
    day = kernel.run_ok("%runapi budget off --session").text
    assert "Budget of the day  $7.50" in day
    assert "of the session" not in day
    assert "There is no budget. Set one" in kernel.run_ok("%runapi budget --day off").text
    kernel.run_ok("%runapi budget 5")
    kernel.run_ok("%runapi budget --day $7.50")
    assert kernel.run_ok("%runapi budget off").text == "There is no budget any more.\n"
    assert kernel.run_ok("%runapi budget").text == without


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
def test_wrong_amounts_are_rejected(kernel, words):
    """A wrong amount gives a message and does not change the budget."""
    before = kernel.run_ok("%runapi budget").stream("stdout")
    message = error_message(kernel.run(f"%runapi budget {words}"))
    assert message.startswith("UsageError: ")
    assert "%runapi budget 5" in message
    assert kernel.run_ok("%runapi budget").stream("stdout") == before


@pytest.mark.parametrize("live", [True, False])
def test_cell_over_the_budget(kernel, server, live):
    """A cell over the budget shows a message and sends nothing."""
    kernel.run_ok("%runapi budget 0")
    cell = kernel.run(f"%%gpt_image -o crossing\na hill over budget {live}", live=live)
    kernel.wait(lambda: "the budget of the session is $0.00" in cell.text)
    assert "This costs $0.06" in error_message(cell)
    assert NOT_SENT in cell.text
    assert "%runapi budget USD --session" in cell.text
    assert server.bodies("over budget") == []


def test_click_over_the_budget(kernel, server):
    """A click over the budget shows a message and sends nothing."""
    kernel.run_ok(FIND_WIDGETS)
    cell = kernel.run_ok("%%gpt_image -o shown\na hill with a button")
    kernel.wait_for_images(cell)
    kernel.run_ok("_ = await shown\n%runapi budget 0")
    kernel.wait(lambda: kernel.value("newest(Button, 'Again').disabled") is False)
    kernel.run_ok("newest(Button, 'Again').click()")
    kernel.wait(
        lambda: kernel.value(
            "any('budget of the session' in str(getattr(w, 'value', ''))"
            " for w in _instances.values())"
        )
    )
    assert len(server.bodies("with a button")) == 1


def test_balance_and_history(kernel, server):
    """``balance`` shows the balance and the spending; ``history --cost`` each image's cost."""
    kernel.run_ok("%%gpt_image -n 2 -r 2k\na hill in the books", live=False)
    cell = kernel.run_ok("%runapi balance", live=False)
    account, spent, here = cell.text.splitlines()[-3:]
    cents = server.state()["charged_cents"]
    assert account == f"Balance ${(100_000 - cents) / 100:.2f}"
    assert f"in total ${cents / 100:.2f}" in spent
    assert here.startswith("Spent here: this session $")
    assert f"in total ${cents / 100:.2f}" in here
    listed = kernel.run_ok("%runapi history --cost in the books").text
    lines = [line for line in listed.splitlines() if "a hill in the books" in line]
    assert ["$0.10" in line and "gpt-image-2" in line for line in lines] == [True, True]
    assert "Spent here: " in listed
    assert "older images: --limit" in kernel.run_ok("%runapi history --cost --limit 1").text


def test_spending_of_a_notebook(tmp_path, server):
    """A kernel of a notebook shows what the notebook spent in earlier kernels."""
    environment = clean_environment(
        tmp_path, RUNAPI_BASE_URL=server.url, RUNAPI_API_KEY=KEY, JPY_SESSION_NAME="work/a.ipynb"
    )
    for session in ("0.06", "0.00"):
        with start_kernel(tmp_path, environment, "%load_ext runapi_magic") as kernel:
            kernel.run_ok("%gpt_image a hill of a notebook", live=False)
            message = kernel.run_ok("%runapi budget").text
        assert f"this session ${session}, this notebook $0.06, today $0.06" in message

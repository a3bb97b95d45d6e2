"""Sessions in the panel and in cells, by clicks, and their state after a restart."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.lab import LOAD, choose


def _wait_for_version(lab, version, count, path):
    expect(lab.cell(0).get_by_text(f"{version} of {count}", exact=True)).to_be_visible()
    expect(lab.cell(0).get_by_text(re.compile(rf"^{path} · "))).to_be_visible()


def _edit(lab, text):
    lab.click(0, "Edit")
    field = lab.cell(0).get_by_role("textbox", name="Edit")
    expect(field).to_be_focused()
    lab.page.keyboard.type(text)
    lab.page.keyboard.press("Enter")


def _names(lab):
    return (
        lab.cell(0)
        .locator(".runapi-strip button")
        .evaluate_all("all => all.map(one => one.getAttribute('aria-label')).sort()")
    )


def test_session_in_the_panel(open_lab, server):
    """You can generate, edit, branch, compare and upscale. A restarted kernel has the history."""
    lab = open_lab("%load_ext runapi_magic\n%gpt_panel")
    lab.run(0)
    prompt = lab.cell(0).get_by_role("textbox", name="Prompt")
    prompt.click()
    lab.page.keyboard.type("a fox in a session")
    lab.click(0, "3:2")
    lab.click(0, "Generate")
    lab.wait_for_images(0)
    lab.wait_for_text(0, "gpt-images/a-fox-in-a-session")
    first = lab.source(0)
    _edit(lab, "make it blue")
    _wait_for_version(lab, "v2", 2, "v1 > v2")
    _edit(lab, "add a balloon")
    _wait_for_version(lab, "v3", 3, "v1 > v2 > v3")
    lab.cell(0).get_by_role("button", name=re.compile("^v1:")).click()
    _wait_for_version(lab, "v1", 3, "v1")
    assert lab.source(0) == first
    _edit(lab, "make it night")
    _wait_for_version(lab, "v4", 4, "v1 > v4")
    lab.click(0, "Compare")
    other = lab.cell(0).get_by_role("combobox", name="Compare with")
    expect(other).to_be_focused()
    choose(other, "v3")
    line = lab.cell(0).get_by_role("slider", name="How much of v3 is shown; the rest is v4")
    expect(line).to_be_attached()
    lab.page.keyboard.press("Escape")
    lab.click(0, "Upscale")
    lab.cell(0).get_by_role("button", name=re.compile("^2 times: ")).click()
    _wait_for_version(lab, "v5", 5, "v1 > v4 > v5")
    expect(lab.cell(0).locator(".runapi-gallery button")).to_have_count(5)
    names, tasks = _names(lab), len(server.state()["tasks"])
    assert len(names) == 5
    assert len(lab.page.locator("[data-mime-type='application/vnd.jupyter.error']").all()) == 0

    lab.save()
    lab.restart()
    lab.run(0)
    tiles = lab.cell(0).locator(".runapi-gallery button")
    expect(tiles).to_have_count(5)
    tiles.first.click()
    _wait_for_version(lab, "v5", 5, "v1 > v4 > v5")
    lab.wait_for_images(0)
    assert _names(lab) == names
    assert len(server.state()["tasks"]) == tasks


def test_versions_stay_after_restart_and_run_all(open_lab, server):
    """After restart and Run All, an edit by a click and its edit in a cell are shown at no cost."""
    lab = open_lab(
        LOAD,
        "%%gpt_image -o owl\nan owl to be kept",
        "%%gpt_edit owl --wait -o hat\nadd a hat to it",
        "print(owl.image.prompt, owl.slots[0].index, len(owl.images), hat.cost)",
    )
    lab.run(0)
    lab.run(1)
    lab.wait_for_images(1)
    lab.click(1, "Edit")
    lab.type(1, "make it blue")
    lab.page.keyboard.press("Enter")
    lab.wait_for_text(1, "gpt-images/make-it-blue")
    blue = lab.source(1)
    lab.run(2)
    lab.wait_for_images(2)
    hat = lab.source(2)
    charged = server.state()["charged_cents"]

    lab.restart()
    lab.run_all()
    lab.wait_for_text(3, "make it blue 1 2 0")
    lab.wait_for_text(1, re.compile(r"^v1 > v2 · "))
    lab.wait_for_text(1, "2 of 3")
    assert (lab.source(1), lab.source(2)) == (blue, hat)
    assert server.state()["charged_cents"] == charged

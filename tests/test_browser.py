"""One real browser: JupyterLab opens a chapter, verdicts show, a slider moves a figure, nbgrader's Validate button works."""

import json
import shutil
from collections.abc import Iterator

import pytest
from lab import browser_tab, needs_chromium, serve, shots
from support import ROOT

WRONG = "def sigmoid(z):\n    return 1 / (1 + np.exp(-z))\n\n\ndef dsigmoid(z):\n    s = sigmoid(z)\n    return s * (1 - s)\n"
RIGHT = (
    "def sigmoid(z):\n    e = np.exp(-np.abs(z))\n    return np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype)\n\n\n"
    "def dsigmoid(z):\n    s = sigmoid(z)\n    return s * (1 - s)\n"
)

#: The indicator shows an idle kernel before there is one. Whoever runs cells then is asked to select one.
KERNEL_IS_READY = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return context?.isReady && context.session?.kernel?.status === "idle";
}"""

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A JupyterLab server over copies of the notebooks; its address."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks/04-activations.ipynb", folder / "self-study.ipynb")
    shutil.copy(ROOT / "release/04-activations/activations.ipynb", folder / "class.ipynb")
    settings = folder / "settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    with serve(folder, **{"LabApp.user_settings_dir": folder / "settings", "LabApp.expose_app_in_browser": True}) as address:
        yield address


@pytest.fixture(scope="module")
def page(lab: str):
    with browser_tab() as tab:
        yield tab


def open_notebook(page, lab: str, name: str) -> None:
    page.goto(f"{lab}/lab/tree/{name}?reset")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")
    page.wait_for_function(KERNEL_IS_READY)


def cell(page, text: str):
    """The code cell whose source contains `text`."""
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell", has=page.locator(".cm-content", has_text=text)).first


def run_cell(page, found) -> None:
    found.locator(".cm-content").first.click()
    page.keyboard.press("Control+Enter")


def write(page, found, source: str) -> None:
    found.locator(".cm-content").first.click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(source)
    page.keyboard.press("Control+Enter")


def test_a_learner_meets_the_card_turns_it_green_and_moves_a_figure(lab, page):
    open_notebook(page, lab, "self-study.ipynb")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    verdict = cell(page, 'grade("activations.stable-sigmoid")')
    verdict.locator("text=Not attempted yet").wait_for()
    cell(page, 'grade_quiz("04-activations")').locator("text=Fill in one letter").wait_for(timeout=120_000)

    write(page, cell(page, "def sigmoid(z"), WRONG)
    run_cell(page, verdict)
    verdict.locator("text=What probably happened").wait_for()
    assert "overflow" in verdict.inner_text()
    page.screenshot(path=str(shots() / "card-wrong.png"))

    write(page, cell(page, "def sigmoid(z"), RIGHT)
    run_cell(page, verdict)
    verdict.locator("text=Solved").wait_for()
    page.screenshot(path=str(shots() / "card-right.png"))

    handle = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .noUi-handle").first
    handle.scroll_into_view_if_needed()
    figure = page.locator(".jp-CodeCell", has=page.locator(".noUi-handle")).first.locator("img").first
    before = figure.get_attribute("src")
    handle.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("([img, src]) => img.isConnected ? img.src !== src : true", arg=[figure.element_handle(), before])
    assert page.locator(".jp-CodeCell", has=page.locator(".noUi-handle")).first.locator("img").first.get_attribute("src") != before
    page.screenshot(path=str(shots() / "slider.png"))


def test_the_validate_button_of_the_class_edition_answers(lab, page):
    open_notebook(page, lab, "class.ipynb")
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Toolbar >> text=Validate").first.click()
    dialog = page.locator(".jp-Dialog")
    dialog.wait_for(timeout=120_000)
    assert "failed" in dialog.inner_text().lower()
    page.screenshot(path=str(shots() / "validate.png"))

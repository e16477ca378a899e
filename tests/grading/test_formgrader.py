"""nbgrader's formgrader: its autograde button grades with our judge, and shows what it gave."""

from course import CHAPTER, RIGHT, SQUARE, hand_in, recorded
from lab import browser_tab, needs_chromium, serve, shots


@needs_chromium
def test_the_autograde_button_grades_with_the_judge(course):
    hand_in(course, "ada", RIGHT | {"mini.double": SQUARE})
    with serve(course) as address, browser_tab() as tab:
        tab.goto(f"{address}/formgrader/manage_submissions/{CHAPTER}")
        tab.locator("td.autograde a").click()
        tab.locator("text=Successfully autograded").wait_for(timeout=120_000)
        tab.screenshot(path=str(shots() / "formgrader-autograded.png"))
        tab.goto(f"{address}/formgrader/gradebook/{CHAPTER}/mini")
        tab.locator("td.name a").first.click()
        frame = tab.locator("text=What probably happened")
        frame.first.wait_for()
        tab.screenshot(path=str(shots() / "formgrader-submission.png"))
    scores = recorded(course)
    assert scores["ada", "mini-root"] == 3
    assert scores["ada", "mini-double"] < 2

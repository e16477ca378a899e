"""No attack succeeds against this grader, and the suite can see success."""

from pathlib import Path

from support import ROOT

from autograder.attacks import runs
from autograder.attacks.attack import GROUPS, load_attacks

ATTACKS = load_attacks(ROOT / "tests" / "attacks")


def test_there_are_attacks_of_every_kind() -> None:
    assert len(ATTACKS) >= 40
    assert {a.group for a in ATTACKS} == set(GROUPS)
    assert len({a.name for a in ATTACKS}) == len(ATTACKS)


def test_no_attack_succeeds() -> None:
    assert {r.attack.name: r.broken for r in runs.run(ATTACKS, ROOT, runs.ours) if r.broken} == {}


def lenient(ground: runs.Ground) -> list[str]:
    """A grader that believes what it is told, in place of a real one: full points for all, files written where an attack wants them."""
    import sqlite3

    harm = runs.ours(ground)
    with sqlite3.connect(ground.root / "gradebook.db") as db:
        db.execute("update grade set auto_score = 2.0")
    for place in ground.places.values():
        (place.canary / "victim.txt").write_text("changed")
        Path(ground.folder("feedback", place.student), f"{place.slug}.html").write_text(f"<script>{ground.secret}</script>")
    return harm


def test_success_is_seen() -> None:
    attacks = load_attacks(ROOT / "tests" / "attacks", ["equals-everything"])
    (result,) = runs.run(attacks, ROOT, lenient)
    seen = " · ".join(result.broken)
    for word in ("undeserved points", "hidden text", "changed outside", "another student's grade", "active content in the feedback page"):
        assert word in seen

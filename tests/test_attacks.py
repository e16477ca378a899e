"""No attack succeeds against this grader, and the suite can see success."""

from pathlib import Path

from support import ROOT

from autograder.attacks import runs
from autograder.attacks.attack import GROUPS, load_attacks

ATTACKS = load_attacks(ROOT / "tests" / "attacks")
#: Attacks that are known to succeed, and why. An entry that does not any more fails the test.
KNOWN = {"measurements-made-up": "a probe that measures in the student's process believes what that process says it measured"}


def test_there_are_attacks_of_every_kind() -> None:
    assert len(ATTACKS) >= 40
    assert {a.group for a in ATTACKS} == set(GROUPS)
    assert len({a.name for a in ATTACKS}) == len(ATTACKS)


def test_no_attack_succeeds_but_those_that_are_known_to() -> None:
    broken = {r.attack.name: r.broken for r in runs.run(ATTACKS, ROOT, runs.ours) if r.broken}
    assert {name: found for name, found in broken.items() if name not in KNOWN} == {}
    assert set(KNOWN) == set(broken), "an attack that is held now is no longer known to succeed"


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

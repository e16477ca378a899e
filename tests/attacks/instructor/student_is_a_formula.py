"""Is called like markup of a terminal, and hands in a second time by a name that is a formula of a spreadsheet."""

import shutil

from autograder.attacks.checks import recorded

STUDENT = "1+1,[red]@SUM(A1)[-red]"
FORMULA = "=1+1,[red]@SUM(A1)[-red]"
SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}


def hand_in(folder, place):
    shutil.copytree(folder, folder.parents[1] / FORMULA / folder.name)


def success(seen):
    return "a formula stands in the gradebook" if FORMULA in recorded(seen.ground.root) else ""

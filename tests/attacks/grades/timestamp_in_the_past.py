"""Hands in a timestamp of its own choice: negative years, formulas, other words."""

SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}


def hand_in(folder, place):
    (folder / "timestamp.txt").write_text("99999-13-45 =1+1 '; drop table grade; --\n" * 10)

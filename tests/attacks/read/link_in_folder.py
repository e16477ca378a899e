"""Hands in a link to a hidden file beside the notebook and prints what it finds there."""

SOLUTIONS = {
    "activations.zigzag": """
import glob
for path in glob.glob("**", recursive=True) + ["data.txt", "more/secret.txt"]:
    try:
        print(path, open(path).read()[-300:])
    except (OSError, UnicodeError) as error:
        print(path, error)

def same_sign_fraction(H, delta):
    return None
"""
}


def hand_in(folder, place):
    (folder / "data.txt").symlink_to(place.course / "secret.txt")
    (folder / "more").symlink_to(place.course)

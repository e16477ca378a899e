"""Gives its notebook metadata, names and ids of other students and assignments."""

SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}


def alter(notebook, place):
    notebook["metadata"].update(
        {"student": place.neighbour, "nbgrader": {"student": place.neighbour, "assignment": "x"}, "dlcourse": {"submitted": "/etc/passwd"}}
    )
    notebook["metadata"]["dlcourse"] = {
        "submitted": str(place.course / "submitted" / place.neighbour / place.chapter / f"{place.slug}.ipynb")
    }
    return notebook

"""Hands in a link to a hidden file in the place of the notebook, so that an error message or a copy shows it."""


def hand_in(folder, place):
    notebook = folder / f"{place.slug}.ipynb"
    notebook.unlink()
    notebook.symlink_to(place.course / "secret.txt")

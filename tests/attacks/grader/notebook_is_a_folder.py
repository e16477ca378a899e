"""Hands in a folder in the place of the notebook."""

ALONE = True


def hand_in(folder, place):
    notebook = folder / f"{place.slug}.ipynb"
    notebook.unlink()
    (notebook / "inside").mkdir(parents=True)

"""Hands in a symbolic link to the notebook of an honest student."""


def hand_in(folder, place):
    notebook = folder / f"{place.slug}.ipynb"
    notebook.unlink()
    notebook.symlink_to(place.course / "submitted" / place.neighbour / place.chapter / notebook.name)

"""Hands in a link to a device without end, and one to itself."""

ALONE = True


def hand_in(folder, place):
    notebook = folder / f"{place.slug}.ipynb"
    notebook.unlink()
    notebook.symlink_to("/dev/full")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "up").symlink_to("..")

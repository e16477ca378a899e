"""Makes timestamp.txt a link to a hidden file, so that the complaint about it shows its text."""


def hand_in(folder, place):
    (folder / "timestamp.txt").symlink_to(place.course / "secret.txt")


def success(seen):
    copied = seen.ground.folder("autograded", seen.attack.student) / "timestamp.txt"
    return "the hidden file was copied" if copied.is_file() and seen.place.secret in copied.read_text() else ""

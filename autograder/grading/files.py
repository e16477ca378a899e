"""Write files so that a reader never sees half of one."""

import os
import tempfile
from pathlib import Path

from autograder.errors import CourseError


def write_whole(path: Path, text: str | bytes) -> None:
    """Write `path` at once, whether or not an older file (also a read-only one) is there.

    Raises
    ------
    CourseError : it cannot be written
    """
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror}. Check the owner and permissions of its folder.") from None

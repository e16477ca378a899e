"""What an instructor is told about things that students named."""

from autograder.student.plaintext import clean


def one_line(text: str, most: int = 1000) -> str:
    """A text in one line that a terminal, a page and a log can show."""
    return " ".join(clean(text, most).split())

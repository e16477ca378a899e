"""The one error of `utils`: what was wrong, where, and what to do."""


class CourseError(ValueError):
    """A call of a course helper that cannot work; the text says what to change."""

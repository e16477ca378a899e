"""Errors that are meant for people.

CourseError
├── AuthoringError    a chapter is written wrong
├── UnknownNameError  no such chapter, exercise or student
├── NotebookError     a notebook cannot be read, or is not one of ours
├── SandboxError      this machine cannot lock a submission in as demanded
└── WireError         a student process answered with something that is not plain data
"""


class CourseError(Exception):
    """What happened, where, got against expected, next step. The command line prints it without a traceback."""


class AuthoringError(CourseError):
    """A chapter is written wrong."""


class UnknownNameError(CourseError):
    """No such chapter, exercise or student."""


class NotebookError(CourseError):
    """A notebook cannot be read, or is not one of ours."""


class SandboxError(CourseError):
    """This machine cannot lock a submission in as demanded."""


class WireError(CourseError):
    """A student process answered with something that is not plain data."""

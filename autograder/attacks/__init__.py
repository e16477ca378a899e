"""Hostile submissions, run against this grader and against stock nbgrader in throw-away courses."""

"""The learner's side of grading: what runs near a submission.

Nothing in this package knows a reference, a trap or an expected value, and nothing in it imports a module that does.
"""

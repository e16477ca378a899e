"""Figures and experiments that the chapters' demos call, one module a chapter; learners may read them."""

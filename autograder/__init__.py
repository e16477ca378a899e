"""The engine of the course: builds the editions of a chapter, judges submissions, keeps the gradebook. Knows no chapter by name."""

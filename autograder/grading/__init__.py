"""From what students handed in to grades: read, rebuild, judge, record, tell.

submission   what a student handed in: the text of solution cells, and nothing else
blueprint    the instructor's notebook, into which those texts are put
judging      the verdicts on one submission
outputs      what a submission printed and drew, made harmless
worker       one process of many that judge
batch        many submissions: jobs, workers, the one writer
gradebook    nbgrader's database, one transaction a submission
feedback     the page a student gets
collect      what a learning platform hands out, put into `submitted/`
"""

"""How good a model is: scoring, metrics, reports, and experiments that compare training methods.

In: a model and a stream of speech with transcripts. Out: error rates with intervals, tables, plots and pages.
"""

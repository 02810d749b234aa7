"""Evaluate models: scoring, metrics, reports, and experiments that compare training methods.

Input: a model and a stream of speech with transcripts. Output: error rates with intervals, tables, plots and pages.
"""

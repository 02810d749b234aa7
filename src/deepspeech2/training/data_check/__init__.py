"""The check of a corpus before training: recordings, transcripts and costs.

In: a recipe, and a sample or all of its speech. Out: problems with their shares and advice, as a table and a page.
"""

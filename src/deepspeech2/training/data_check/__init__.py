"""Check a corpus before training: recordings, transcripts and costs.

Input: a recipe, and a sample or all of its speech. Output: problems with shares and advice, as a table and a page.
"""

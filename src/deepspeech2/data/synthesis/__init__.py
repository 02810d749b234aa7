"""Synthetic speech: voices in rooms and noise say commands or sentences.

In: a grammar or plain text, minutes and numbers of speakers. Out: a corpus folder in the layout of the Hub.
"""

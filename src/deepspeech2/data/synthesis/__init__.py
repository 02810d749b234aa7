"""Synthetic speech: voices, room acoustics and noise for commands or sentences.

In: a grammar or plain text, minutes and numbers of speakers. Out: a corpus folder in the layout of the Hub.
"""

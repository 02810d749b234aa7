"""Voice commands of a grammar, recognised in recordings or live from a microphone.

In: a YAML grammar, a model, and speech. Out: the command with its slots and confidence, or a rejection.
"""

"""Grammars of voice commands: what may be said, and what it means.

In: a YAML file of commands, parts and slots. Out: the grammar, its sentences sampled and counted, and its ambiguities.
"""

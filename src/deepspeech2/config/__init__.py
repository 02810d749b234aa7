"""Settings of the commands: the dataclasses of a recipe, shared command-line options, and validation.

In: YAML files and the command line. Out: typed dataclasses, or one message with all faults. Imports nothing heavy.
"""

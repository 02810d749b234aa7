"""What a command is told: the dataclasses of a recipe, the options that commands share, and their validation.

In: YAML files and the command line. Out: typed dataclasses, or one message with all faults. Loads nothing heavy.
"""

"""The console command `deepspeech2`, for people who use a finished model.

In: a subcommand and its options. Out: transcripts, commands, pages or converted models, by the rest of the package.
"""

"""
The console command `deepspeech2`, for people who use a finished model: a module for each of its commands.

In come the words of a command line; out go files, lines and an exit status. Imports that take long stand where they
are used, so that --help answers at once.
"""

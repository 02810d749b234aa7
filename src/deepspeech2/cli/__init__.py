"""
The console command `deepspeech2`, for people who use a trained model. Each of its commands has a module.

In: the arguments of a command line. Out: files, printed lines and an exit status. Slow imports are inside functions, so
that --help is fast.
"""

"""The system layer of a command: files, network, devices, processes, signals, and the start and end of a command.

In: paths, URLs, device names, errors. Out: complete files, retried requests, an exit status with a message.
"""

"""The machine around a command: files, network, devices, processes and signals, and how a command ends.

In: paths, URLs, devices by name, errors. Out: files written whole, requests tried again, an exit status with a message.
"""

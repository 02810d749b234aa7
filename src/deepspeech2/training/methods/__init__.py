"""Methods of fine-tuning: which weights are trained, and with which loss.

Input: a model and the arguments of a method. Output: the model with its trained weights selected, a loss, a file of
updates.
"""

"""Methods of fine-tuning: which weights learn, and which objective they learn from.

In: a model and the arguments of a method. Out: the model with its trained weights chosen, a loss, a file of changes.
"""

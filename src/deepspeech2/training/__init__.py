"""A training run: the Trainer, its checkpoints and callbacks, the run around it, and the push to the Hub.

In: a recipe. Out: a folder with the model, its processor, results, report and model card.
"""

"""Train a model: the Trainer, its checkpoints and callbacks, the run around it, and the push to the Hub.

Input: a recipe. Output: a folder with the model, its processor, results, report and model card.
"""

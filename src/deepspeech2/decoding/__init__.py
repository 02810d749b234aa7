"""From logits to words: greedy or by beam search with a language model, with times and calibrated confidences.

In: logits or log-probabilities of a model. Out: transcripts with word times, tuned decoder options, aligned texts.
"""

"""From logits to words: greedy or by beam search with a language model, with times and calibrated confidences.

In: logits or log-probabilities of a model. Out: hypotheses of words, decoder options tuned on a split, aligned texts.
"""

"""From corpora to padded batches: recordings read, split, augmented, turned into features, ordered by length.

In: names of corpora, whose audio is still encoded. Out: `input_features`, `attention_mask` and `labels`, with a count
of what was left out.
"""

"""From corpora to padded batches: read, split, augment and batch recordings, and compute their features.

In: the names of corpora. Out: batches of `input_features`, `attention_mask` and `labels`, and a record of the dropped
utterances.
"""

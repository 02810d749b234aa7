"""Audio files as people have them: what is in the file counts, not what its header or a library's guess says.

In: a recording as `{"bytes", "path"}`, of any format that libsndfile decodes, perhaps a span of it. Out: its true
length, and its samples in one channel. What cannot be used is an `AudioError` with a reason in one word.
"""

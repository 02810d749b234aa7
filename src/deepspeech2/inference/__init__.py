"""From recordings of any length to transcripts: captions, streams, a demo page, a corpus from captioned media.

In: audio or video files, or samples as they arrive, and a model. Out: words with times, caption files, utterances.
"""

"""From recordings of any length to transcripts: captions, streams, a demo page, a corpus from captioned media.

In: a model, and audio or video files or live samples. Out: words with times, caption files, utterances, commands.
"""

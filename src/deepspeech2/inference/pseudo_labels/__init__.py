"""
Pseudo-labels: a teacher's transcripts of speech without transcripts, as a table to train on.

In: a teacher (any speech recognition model of transformers) and recordings.
Out: a table, and a list of what is not in it.
"""

from .clips import ClipStream
from .journal import Journal
from .labelling import Labels, label
from .teachers import Teacher, Transcript, load_teacher

__all__ = ["ClipStream", "Journal", "Labels", "Teacher", "Transcript", "label", "load_teacher"]

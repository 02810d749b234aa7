"""Lists of recordings and their cells: tables from files, the columns that are meant, names of files, spans and texts.

In: a list or a folder, in any of the spellings that people have. Out: rows with `audio`, `text`, `id`, `speaker_id`, a
span, and the fault of a row that cannot be used.
"""

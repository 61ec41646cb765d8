"""Answers as tables, files and pages.

``words``   numbers and odds as people say them.
``units``   how a value of each unit is shown, and what it is in plain data.
``table``   :func:`~quotacast.engine.reports.table.as_table`, for a terminal.
``files``   :func:`~quotacast.engine.reports.files.write`, ``as_json``, ``as_csv``: by the file's ending.
``svg``     a small drawing board; ``frame`` has axes for it.
``charts``  the pictures of an answer by name; every one has a file.
``page``    one self-contained, printable page of several answers.

Nothing is imported here, so that the words cost no start-up time.
"""

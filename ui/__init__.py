"""What the pages draw with: `router.py` is the frame around them, a folder holds a page's parts.

A page is a file in `pages/` and its line in the table of `navigation.py`. What is about one page's
subject lies in the folder of its name, where other pages find it, too: the filters of the queue,
the evidence of an example, the layers of a run. What belongs to no page lies here: one example
(`examples.py`), examples as cards (`galleries.py`), a table's row (`fields.py`), labels in words
(`labels.py`), charts, and the choice of files (`uploads.py`). `components/` holds browser code
that Streamlit lacks, `server/` what is answered beside Streamlit's own pages.
"""

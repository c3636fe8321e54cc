"""The report of a review: one page that a stakeholder reads, and figures for slides.

``collect`` gathers what is known, ``figures`` draws it, ``page`` lays it out, ``write`` makes the
files. Nothing here needs torch.
"""

"""Importers: from a person's own data to a project.

The way of the data: ``detect`` opens it, ``scan`` reads it once, ``plan`` decides about every
example, ``preview`` shows that, ``ingest`` stores it. ``formats`` is the table of what can be
imported.
"""

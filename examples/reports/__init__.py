"""The application behind `make demo`: CSV files of facts become PDF reports, thumbnails and a ZIP.

`app.py` is the only module that runs jobs, `plan.py` the only one that submits them. The others are plain functions
that do not know Fairlane.
"""

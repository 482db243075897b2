"""Data at rest: keys of organizations, texts sealed under them, and files in the artifact storage.

It seals and opens what it is given, and knows neither job types nor workers.
"""

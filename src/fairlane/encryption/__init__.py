"""Data at rest: keys of organizations, encryption of texts by these keys, and files in the artifact storage.

This folder encrypts and decrypts what it is given, and knows neither job types nor workers.
"""

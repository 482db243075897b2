"""What both the submitting and the running side need: job types and their parameters, the directory, artifacts.

It knows no worker and no verb.
"""

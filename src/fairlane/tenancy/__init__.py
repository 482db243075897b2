"""Organizations and their members: directories, rights, pauses, and the audit.

Verbs about jobs, logins and keys are in other folders. They ask here whether a user has a right.
"""

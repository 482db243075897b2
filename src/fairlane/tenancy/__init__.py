"""Organizations and who acts in them: directories, members, rights, what is paused, and the audit of it all.

No verb about jobs, logins or keys is here: those ask here whether somebody may.
"""

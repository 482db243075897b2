"""How people and programs prove who they are: users, passwords, sessions, tokens, and tickets for sockets.

What they may do is decided by `tenancy`; how a request brings its proof is for the faces to know.
"""

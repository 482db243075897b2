"""Authentication of people and programs: users, passwords, sessions, tokens, and tickets for sockets.

`tenancy` decides what they may do. `api` and `realtime` know how a request carries its credential.
"""

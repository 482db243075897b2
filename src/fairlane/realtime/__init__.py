"""What people see without asking again: the feed of the database, sorted into rooms, over Socket.IO and SSE.

Whoever enters a room was let in by `api`; here it is only looked, each second, whether they still may be there. Nothing
here knows HTTP routes, and nothing but `sockets` knows Socket.IO.
"""

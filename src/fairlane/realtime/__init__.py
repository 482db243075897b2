"""Live events: the feed of the database, sorted into rooms, over Socket.IO and server-sent events.

`api` decides who may enter a room. This package only checks, each second, whether its clients still may be there.
Nothing here knows HTTP routes, and nothing but `sockets` knows Socket.IO.
"""

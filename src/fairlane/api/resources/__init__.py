"""The routes of the REST API, a module for each resource. They are thin: each calls a verb, and shapes its answer."""

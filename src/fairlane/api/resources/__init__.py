"""One module for each resource: its routes, thin, with what they need and what they answer."""

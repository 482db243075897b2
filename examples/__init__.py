"""Applications that use Fairlane the way a customer would: through `from fairlane import …` only.

`demo` runs one of them, and prints with what the command line prints with.
"""

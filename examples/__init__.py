"""Applications that use Fairlane the way a customer would: through `from fairlane import …` only."""

"""Measure, outside of the tests: Fairlane, its peers, a simulation of its fairness; and the page of figures."""

"""What is measured outside of the tests: Fairlane's peers, a simulation of its fairness, and the page of figures."""

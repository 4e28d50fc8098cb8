"""The probability of a right suggestion, and the decision to show the suggestion."""

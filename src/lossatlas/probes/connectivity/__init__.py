"""The loss between solutions."""

"""The sample data: a year of card payments with fraud, simulated. Gone after `mainline adopt`."""

from sample.feed import labels, raw_month
from sample.simulate import month

__all__ = ["labels", "month", "raw_month"]

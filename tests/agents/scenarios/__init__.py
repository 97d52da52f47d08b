"""The scenarios, in the order of the table."""
from . import imports, hooks
from .parts import SCENARIOS

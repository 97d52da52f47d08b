"""The scenarios, in the order of the table."""
from . import imports, resumes, hooks
from .parts import SCENARIOS

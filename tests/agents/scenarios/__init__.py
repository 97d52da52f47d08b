"""The scenarios, in the order of the table."""
from . import imports, resumes, hooks, watch
from .parts import SCENARIOS

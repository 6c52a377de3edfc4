"""What a wrong configuration raises."""

from gflowvlm.errors import UserError


class ConfigError(UserError):
    """Wrong settings: one line per problem, each with place, finding and remedy."""

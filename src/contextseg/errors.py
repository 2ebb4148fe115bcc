"""The error that is no bug. Apart from `contract`, so that a command refuses a typo before it loads torch."""


class ConfigError(ValueError):
    """Something the user can put right: the message names the option or file, its value and the way out."""

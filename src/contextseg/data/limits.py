"""The limits of pictures that are options: their size, and the values that become black and white."""

from contextseg.errors import ConfigError

MAX_MEGAPIXELS = 200.0  # the default of max_megapixels

ValueRange = tuple[float, float]


def way_out(option: str | None, setting: str) -> str:
    """Say how to give a setting for pictures; `option`: what stands before its name, None where there is none."""
    if option is None:
        return f"replace the file by the published one, or read the data with data=folder data.{setting}"
    return f"give {option}{setting}"


def check_range(value_range: ValueRange | None, option: str = "") -> ValueRange | None:
    """Return a range of two values; `option`: what stands before its name. Raises `ConfigError` for a wrong order."""
    if value_range is None:
        return None
    low, high = value_range
    if not low < high:
        raise ConfigError(f"{option}value_range=[{low:g},{high:g}]: give [black,white], the lower value first")
    return low, high

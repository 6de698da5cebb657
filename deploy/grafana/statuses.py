"""What the status of a request says to an operator: whose fault it is, and its colour."""

# What a request that could have been answered ends with; alerts count the same.
OURS = "INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|FAILED_PRECONDITION"

# By name, so that a status that is there for once does not change the colours of the others.
STATUS_COLOURS = {
    "OK": "green",
    "CANCELLED": "text",
    "INVALID_ARGUMENT": "blue",
    "UNAUTHENTICATED": "purple",
    "RESOURCE_EXHAUSTED": "yellow",
    "DEADLINE_EXCEEDED": "orange",
    "UNAVAILABLE": "semi-dark-red",
    "FAILED_PRECONDITION": "semi-dark-red",
    "INTERNAL": "red",
}

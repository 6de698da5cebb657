"""How far the sender of an embedding may run ahead of its receiver: pure, in bytes.

Room for the whole payload is reserved, but what was sent and not yet taken in lies in the buffers
of both processes. The window bounds that, however long the receiver stalls.
"""


class CreditWindow:
    """The credit of one embedding stream.

    It is raised when half of the window is used up, so that a chunk of at most half the window can
    always be sent once all earlier ones were taken in.

    Args:
        num_bytes: Payload of the stream; credit never exceeds it.
        window_bytes: Most payload bytes that may be on their way.

    Attributes:
        limit_bytes: Payload bytes that the sender may have sent in total.
    """

    def __init__(self, num_bytes: int, window_bytes: int) -> None:
        self._num_bytes = num_bytes
        self._window_bytes = window_bytes
        self.limit_bytes = min(num_bytes, window_bytes)

    def raise_for(self, received_bytes: int) -> bool:
        """Raise the limit if it is time to.

        Args:
            received_bytes: Payload bytes taken in so far.

        Returns:
            Whether the sender must be told.
        """
        left = self.limit_bytes - received_bytes
        if self.limit_bytes == self._num_bytes or left > self._window_bytes // 2:
            return False
        self.limit_bytes = min(self._num_bytes, received_bytes + self._window_bytes)
        return True

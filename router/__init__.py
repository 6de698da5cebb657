"""Request in, tokens out: admission, placement, the stages in order, the answer stream."""

"""Composition root: configuration, Ray placement, the supervisor, the dvd command."""

import os

# gRPC reads this when it is imported. Children here are started by exec, so its fork handlers
# would do nothing but warn.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

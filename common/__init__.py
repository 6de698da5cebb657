"""What several packages need: a closed list of small, named modules."""

import os

# gRPC reads this when it is imported, and everything here imports this package first. Children are
# started by exec, so gRPC's fork handlers could only warn, or hang a child before its exec.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

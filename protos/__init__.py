"""The contract between the processes, and its generated stubs."""

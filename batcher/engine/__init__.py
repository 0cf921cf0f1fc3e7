"""What carries a job out: rows that are left, the pool that sends them, the books it keeps."""

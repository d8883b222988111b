"""What is told about the exchanges when they are over: the latency log and the metrics."""

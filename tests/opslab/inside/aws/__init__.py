"""The lab's AWS: moto with access control by resource, a call record, signals and faults."""

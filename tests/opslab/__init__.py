"""The lab: an emulated AWS account in which hosts boot. `tests/lab` is its command line.

For tests: `from opslab import lab`, then `lab.run(host, command)`, `lab.client("ssm")`,
`lab.calls()`, `lab.signals()` and the rest of `lab.py`.
"""
